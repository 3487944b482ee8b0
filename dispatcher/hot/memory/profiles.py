"""Profiles in memory."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from dispatcher.domain.device import Profile

Load = Callable[[str, Sequence[str]], Awaitable[Mapping[str, Profile]]]


class MemoryProfiles:
    """The port :class:`~dispatcher.ports.profiles.Profiles`. *load*: the ledger's directory, if there is one."""

    def __init__(self, load: Load | None = None) -> None:
        self._load = load
        self._held: dict[tuple[str, str], Profile] = {}

    async def get(self, app: str, user_ids: Sequence[str]) -> Mapping[str, Profile]:
        missing = [user_id for user_id in user_ids if (app, user_id) not in self._held]
        if missing:
            loaded = await self._load(app, missing) if self._load is not None else {}
            await self.put([loaded.get(user_id) or Profile(app=app, user_id=user_id) for user_id in missing])
        return {user_id: self._held[app, user_id] for user_id in user_ids}

    async def put(self, profiles: Sequence[Profile]) -> None:
        for profile in profiles:
            held = self._held.get((profile.app, profile.user_id))
            if held is None or held.rev <= profile.rev:
                self._held[profile.app, profile.user_id] = profile

    def revision(self, app: str, user_id: str) -> int | None:
        """The revision held now, None for none."""
        held = self._held.get((app, user_id))
        return held.rev if held is not None else None
