"""Templates of an app."""

from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.template import Template


class Templates(Protocol):
    """Every change is audited, in the same transaction."""

    async def get(self, app: str, name: str) -> Template | None: ...

    async def all(self, app: str) -> list[Template]:
        """By name."""

    async def put(self, app: str, template: Template, condition: Condition = ALWAYS) -> tuple[Template, bool]:
        """True where it is new. ``changed_at`` and ``by`` are the change's. Raises ``Stale``."""

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool: ...
