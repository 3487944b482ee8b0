"""When an app's credentials were last looked at, and what came of it. Losing it costs nothing: one looks again."""

from collections.abc import Mapping
from typing import Protocol

from msgspec import Struct

from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path


class Check(Struct, frozen=True, array_like=True, kw_only=True):
    """One look. *text*: what is wrong, or that nothing is; never a secret."""

    at: Millis
    well: bool
    text: str


class CredentialChecks(Protocol):
    """Shared by all processes."""

    async def checked(self, app: str, path: Path, check: Check) -> None:
        """Keeps the newest."""

    async def checks(self, app: str) -> Mapping[Path, Check]:
        """The last of each path that was ever looked at."""

    async def forget(self, app: str, path: Path) -> None:
        """The credentials are gone."""
