"""Tokens of devices that nobody has heard of for long: out of use, until their app registers again.

https://firebase.google.com/docs/cloud-messaging/manage-tokens (stale after a month without contact; Android's tokens
end after 270 idle days). Apple says nothing of the kind: its tokens rest after the same 270 days, and wake no worse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.device import Profile, TokenState
from dispatcher.domain.paths import Path
from dispatcher.ledger.devices import device_lock
from dispatcher.ledger.engine import Connection, ask, ask_together
from dispatcher.ledger.locks import hold
from dispatcher.ledger.profiles import read_profiles
from dispatcher.ledger.users import touch

UNSEEN: Mapping[Path, Millis] = {Path.FCM: 30 * DAY, Path.APNS: 270 * DAY}
IDLE: Mapping[Path, Millis] = {Path.FCM: 270 * DAY}
BATCH = 500

#: A whole read of devices, a few times a day.
_CANDIDATES = """
SELECT d.app, d.device_id, d.user_id FROM devices d WHERE d.last_seen <= $2 AND EXISTS (
    SELECT FROM device_tokens t
    WHERE t.app = d.app AND t.device_id = d.device_id AND t.path = $1 AND t.state = ANY($3::text[]))
    AND (d.app, d.device_id) > ($4, $5)
ORDER BY d.app, d.device_id LIMIT $6
"""
_STILL = "SELECT user_id FROM devices WHERE app = $1 AND device_id = $2 AND last_seen <= $3"
_END = """
UPDATE device_tokens SET state = $4, ended_at = $5, reason = $6
WHERE app = $1 AND device_id = $2 AND path = $3 AND state = ANY($7::text[])
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unseen:
    """A device whose tokens on *path* are to end."""

    app: str
    device_id: str
    user_id: str
    path: Path
    state: TokenState
    before: Millis  #: last seen then, or earlier


async def unseen(
    engine: AsyncEngine, path: Path, state: TokenState, now: Millis, after: tuple[str, str] = ("", "")
) -> list[Unseen]:
    """The next devices whose *path* tokens become *state* (STALE or DEAD), behind *after* (app, device), in order."""
    before = now - (UNSEEN if state is TokenState.STALE else IDLE)[path]

    async def work(connection: Connection) -> list[Unseen]:
        rows = await connection.fetch(_CANDIDATES, path.value, before, _from(state), *after, BATCH)
        return [
            Unseen(app=app, device_id=device_id, user_id=user_id, path=path, state=state, before=before)
            for app, device_id, user_id in rows
        ]

    return await ask(engine, work)


async def end_tokens(engine: AsyncEngine, found: Unseen, now: Millis) -> Profile | None:
    """Ends them, unless the device was heard of meanwhile; the owner's new profile."""

    async def work(connection: Connection) -> Profile | None:
        await hold(connection, device_lock(found.app, found.device_id))
        user_id = await connection.fetchval(_STILL, found.app, found.device_id, found.before)
        if user_id is None:
            return None
        await touch(connection, found.app, [user_id], now)
        reason = "unseen" if found.state is TokenState.STALE else "idle"
        ended = await connection.execute(
            _END,
            found.app,
            found.device_id,
            found.path.value,
            found.state.value,
            now,
            reason,
            _from(found.state),
        )
        if ended.endswith(" 0"):
            return None
        return (await read_profiles(connection, found.app, [user_id])).get(user_id)

    return await ask_together(engine, work)


def _from(state: TokenState) -> Sequence[str]:
    """Which states turn into *state*."""
    return ["active"] if state is TokenState.STALE else ["active", "stale"]
