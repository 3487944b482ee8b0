"""Templates by app and name."""

from collections.abc import Mapping
from typing import Any

import msgspec
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.template import Template, Texts
from dispatcher.ledger.engine import Connection, ask, ask_together

_COLUMNS = "name, texts::text, default_locale, etag, changed_at, by"
_ONE = f"SELECT {_COLUMNS} FROM templates WHERE app = $1 AND name = $2"  # noqa: S608
_ALL = f"SELECT {_COLUMNS} FROM templates WHERE app = $1 ORDER BY name"  # noqa: S608
_STANDING = "SELECT etag FROM templates WHERE app = $1 AND name = $2 FOR UPDATE"
_PUT = """
INSERT INTO templates (app, name, texts, default_locale, etag, changed_at, by) VALUES ($1, $2, $3::json, $4, $5, $6, $7)
ON CONFLICT (app, name) DO UPDATE SET texts = excluded.texts, default_locale = excluded.default_locale,
    etag = excluded.etag, changed_at = excluded.changed_at, by = excluded.by
RETURNING xmax = 0
"""
_DELETE = "DELETE FROM templates WHERE app = $1 AND name = $2 RETURNING name"
_AUDIT = """
INSERT INTO audit (app, at, who, action, subject, detail)
VALUES ($1, $2, $3, $4, $5, json_build_object('locales', $6::text[]))
"""

_decode = msgspec.json.Decoder(dict[str, Texts]).decode


class SqlTemplates:
    """:class:`dispatcher.ports.templates.Templates` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def get(self, app: str, name: str) -> Template | None:
        """See the port."""

        async def work(connection: Connection) -> Template | None:
            row = await connection.fetchrow(_ONE, app, name)
            return None if row is None else _template(row)

        return await ask(self._engine, work)

    async def all(self, app: str) -> list[Template]:
        """See the port."""

        async def work(connection: Connection) -> list[Template]:
            return [_template(row) for row in await connection.fetch(_ALL, app)]

        return await ask(self._engine, work)

    async def put(self, app: str, template: Template, condition: Condition = ALWAYS) -> tuple[Template, bool]:
        """See the port."""

        async def work(connection: Connection) -> tuple[Template, bool]:
            standing = await connection.fetchval(_STANDING, app, template.name)
            condition.hold(standing)
            new = await connection.fetchval(
                _PUT,
                app,
                template.name,
                _written(template.texts),
                template.default_locale,
                template.etag,
                template.changed_at,
                template.by,
            )
            if standing is None and not new:
                condition.hold("made meanwhile")
            locales = sorted(template.texts)
            await connection.execute(
                _AUDIT, app, template.changed_at, template.by, "template.put", template.name, locales
            )
            return template, bool(new)

        return await ask_together(self._engine, work)

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            if await connection.fetchval(_DELETE, app, name) is None:
                return False
            await connection.execute(_AUDIT, app, now, by, "template.delete", name, [])
            return True

        return await ask_together(self._engine, work)


def _written(texts: Mapping[str, Texts]) -> str:
    return msgspec.json.encode(texts).decode()


def _template(row: Any) -> Template:
    return Template(
        name=row["name"],
        texts=_decode(row["texts"]),
        default_locale=row["default_locale"],
        etag=row["etag"],
        changed_at=row["changed_at"],
        by=row["by"],
    )
