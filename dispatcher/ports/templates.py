"""Templates of an app."""

from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.template import Template


class TemplateStale(Exception):
    """If-Match named an earlier state of the template, or there is none any more."""


class Templates(Protocol):
    """Every change is audited, in the same transaction."""

    async def get(self, app: str, name: str) -> Template | None: ...

    async def all(self, app: str) -> list[Template]:
        """By name."""

    async def put(self, app: str, template: Template, *, if_match: str | None) -> tuple[Template, bool]:
        """True where it is new. ``changed_at`` and ``by`` are the change's. Raises :class:`TemplateStale`."""

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool: ...
