"""Users with their devices: the ledger's truth, kept hot, written through by revision."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from dispatcher.domain.device import Profile


class Profiles(Protocol):
    """Hot copies of profiles."""

    async def get(self, app: str, user_ids: Sequence[str]) -> Mapping[str, Profile]:
        """Profiles by user, misses read from the ledger; a user nobody knows has an empty profile."""

    async def put(self, profiles: Sequence[Profile]) -> None:
        """Writes through; an older ``rev`` never replaces a newer one."""
