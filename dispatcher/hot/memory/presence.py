"""Presence in memory."""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from dispatcher.domain.clock import Millis
from dispatcher.ports.presence import Line, Presence


class MemoryPresences:
    """The port :class:`~dispatcher.ports.presence.Presences`."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], dict[str, Presence]] = {}
        self._leases: dict[str, Millis] = {}
        self._watched: dict[str, Millis] = {}

    async def register(self, app: str, user_id: str, presence: Presence) -> Presence | None:
        return self.register_now(app, user_id, presence)

    def register_now(self, app: str, user_id: str, presence: Presence) -> Presence | None:
        """:meth:`register` without waiting."""
        held = self._held.setdefault((app, user_id), {})
        previous = held.get(presence.device_id)
        held[presence.device_id] = presence
        return previous

    async def set_foreground(self, app: str, user_id: str, device_id: str, session: str, foreground: bool) -> None:
        presence = self._own(app, user_id, device_id, session)
        if presence is not None:
            self._held[app, user_id][device_id] = replace(presence, foreground=foreground)

    async def drop(self, app: str, user_id: str, device_id: str, session: str, now: Millis, *, lost: bool) -> None:
        presence = self._own(app, user_id, device_id, session)
        if presence is None:
            return
        if lost:
            self._held[app, user_id][device_id] = replace(presence, line=Line.LOST, since=now)
        else:
            del self._held[app, user_id][device_id]

    async def of_users(self, app: str, user_ids: Sequence[str], now: Millis) -> Mapping[str, Sequence[Presence]]:
        return {
            user_id: [self._judged(presence, now) for presence in self._held.get((app, user_id), {}).values()]
            for user_id in user_ids
        }

    async def hold_node(self, node: str, now: Millis, lease_ms: Millis) -> None:
        self._leases[node] = self._watched[node] = now + lease_ms

    async def release_node(self, node: str) -> None:
        self._leases.pop(node, None)
        self._watched.pop(node, None)

    async def take_lapsed_nodes(self, now: Millis) -> list[str]:
        lapsed = [node for node, end in self._watched.items() if end <= now]
        for node in lapsed:
            del self._watched[node]
        return lapsed

    def turn_online(self, app: str, user_id: str, device_id: str, session: str) -> bool:
        """What the inbox's switch does in one step with its look; False where *session* is not the device's."""
        presence = self._own(app, user_id, device_id, session)
        if presence is None:
            return False
        if presence.line is Line.SYNCING:
            self._held[app, user_id][device_id] = replace(presence, line=Line.ONLINE)
        return True

    def forget(self, app: str, user_id: str) -> None:
        """Erases the user's lines."""
        self._held.pop((app, user_id), None)

    def lose(self) -> None:
        """Forgets everything, as a hot store that lost its data."""
        self._held.clear()
        self._leases.clear()
        self._watched.clear()

    def _own(self, app: str, user_id: str, device_id: str, session: str) -> Presence | None:
        presence = self._held.get((app, user_id), {}).get(device_id)
        return presence if presence is not None and presence.session == session else None

    def _judged(self, presence: Presence, now: Millis) -> Presence:
        end = self._leases.get(presence.node, 0)
        if presence.line is Line.LOST or end > now:
            return presence
        return replace(presence, line=Line.LOST, foreground=False, since=end)
