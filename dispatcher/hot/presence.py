"""Presence on Redis or Valkey: a hash a user, a lease a node."""

from collections.abc import Mapping, Sequence

from dispatcher.domain.clock import MINUTE, Millis
from dispatcher.hot.store import HotStore
from dispatcher.ports.presence import Line, Presence


class RedisPresences:
    """The port :class:`~dispatcher.ports.presence.Presences`."""

    def __init__(self, store: HotStore) -> None:
        self._store = store

    async def register(self, app: str, user_id: str, presence: Presence) -> Presence | None:
        args = (presence.device_id, presence_value(presence))
        held = await self._store.run("presence_register", [self._store.user(app, user_id)], args, state=False)
        return read_presence(presence.device_id, held)

    async def set_foreground(self, app: str, user_id: str, device_id: str, session: str, foreground: bool) -> None:
        await self._run(app, user_id, "foreground", device_id, session, "1" if foreground else "0")

    async def drop(self, app: str, user_id: str, device_id: str, session: str, now: Millis, *, lost: bool) -> None:
        await self._run(app, user_id, "lost" if lost else "drop", device_id, session, str(now))

    async def of_users(self, app: str, user_ids: Sequence[str], now: Millis) -> Mapping[str, Sequence[Presence]]:
        lines: dict[str, list[Presence]] = {user_id: [] for user_id in user_ids}
        nodes: set[str] = set()
        tags = [self._store.user(app, user_id) for user_id in user_ids]
        reply = await self._store.run("presence_of", tags, (), state=False) if tags else ()
        rows = iter(reply)
        for place, device, value in zip(rows, rows, rows, strict=True):
            line = read_presence(device.decode(), value)
            if line is not None:
                lines[user_ids[place - 1]].append(line)
                if line.line is not Line.LOST:
                    nodes.add(line.node)
        ends = await self._lease_ends(sorted(nodes))
        return {
            user_id: [_judged(line, ends.get(line.node, 0), now) for line in found] for user_id, found in lines.items()
        }

    async def hold_node(self, node: str, now: Millis, lease_ms: Millis) -> None:
        end = now + lease_ms
        pipe = self._store.client.pipeline(transaction=False)
        pipe.set(self._store.key(f"node:{node}"), end, px=lease_ms + 30 * MINUTE)
        pipe.zadd(self._store.key("nodes"), {node: end})
        await pipe.execute()

    async def release_node(self, node: str) -> None:
        pipe = self._store.client.pipeline(transaction=False)
        pipe.delete(self._store.key(f"node:{node}"))
        pipe.zrem(self._store.key("nodes"), node)
        await pipe.execute()

    async def take_lapsed_nodes(self, now: Millis) -> list[str]:
        """Nodes whose lease ended without a release, each told once."""
        key = self._store.key("nodes")
        found = await self._store.client.zrangebyscore(key, "-inf", now)
        if found:
            await self._store.client.zrem(key, *found)
        return [node.decode() for node in found]

    async def _lease_ends(self, nodes: Sequence[str]) -> dict[str, Millis]:
        if not nodes:
            return {}
        values = await self._store.client.mget([self._store.key(f"node:{node}") for node in nodes])
        return {node: int(value) for node, value in zip(nodes, values, strict=True) if value is not None}

    async def _run(self, app: str, user_id: str, *args: str) -> bytes:
        held: bytes = await self._store.run("presence", [self._store.user(app, user_id)], args, state=False)
        return held


def presence_value(presence: Presence) -> str:
    """A line as the store keeps it."""
    foreground = "1" if presence.foreground else "0"
    return f"{presence.session}|{presence.node}|{presence.line.value}|{foreground}|{presence.since}"


def read_presence(device_id: str, value: bytes) -> Presence | None:
    """What :func:`presence_value` wrote; None for nothing."""
    if not value:
        return None
    session, node, line, foreground, since = value.decode().split("|")
    return Presence(
        device_id=device_id,
        session=session,
        node=node,
        line=Line(line),
        foreground=foreground == "1",
        since=int(since),
    )


def _judged(presence: Presence, lease_end: Millis, now: Millis) -> Presence:
    """A line is only as alive as its node's lease; a lapsed one was lost when the lease ended."""
    if presence.line is Line.LOST or lease_end > now:
        return presence
    return Presence(
        device_id=presence.device_id,
        session=presence.session,
        node=presence.node,
        line=Line.LOST,
        foreground=False,
        since=lease_end,
    )
