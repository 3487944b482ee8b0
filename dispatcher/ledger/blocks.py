"""Who is kept out, and which dead letters were sent again."""

from collections.abc import Mapping, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.ids import DeliveryRef
from dispatcher.ledger.engine import Connection, ask, ask_together
from dispatcher.ports.operations import Block, Replay

#: Longer than any delivery is kept.
REPLAYS_KEPT: Millis = 400 * DAY

_BLOCKS = "SELECT kind, value, reason, until, by, at FROM blocks WHERE app = $1 ORDER BY kind, value"
_STANDING = """
SELECT kind, value, reason, until, by, at FROM blocks WHERE app = $1 AND kind = $2 AND value = $3 FOR UPDATE
"""
_PUT = """
INSERT INTO blocks (app, kind, value, reason, until, by, at) VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (app, kind, value) DO UPDATE SET reason = excluded.reason, until = excluded.until, by = excluded.by,
    at = excluded.at
RETURNING xmax = 0
"""
_LIFT = "DELETE FROM blocks WHERE app = $1 AND kind = $2 AND value = $3 RETURNING true"
_FORGET = "DELETE FROM blocks WHERE until < $1"
_REPLAYS = """
SELECT r.home, r.place, r.message_id, r.by, r.at FROM replays r
JOIN unnest($2::bigint[], $3::int[]) AS asked(home, place) USING (home, place) WHERE r.app = $1
"""
_NOTE = """
INSERT INTO replays (app, home, place, message_id, by, at) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING
"""
_FORGET_REPLAYS = "DELETE FROM replays WHERE at < $1"


class SqlBlocks:
    """:class:`dispatcher.ports.operations.Blocks` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def blocks(self, app: str) -> list[Block]:
        """See the port."""

        async def work(connection: Connection) -> list[Block]:
            return [Block(**dict(row)) for row in await connection.fetch(_BLOCKS, app)]

        return await ask(self._engine, work)

    async def put_block(self, app: str, block: Block, condition: Condition = ALWAYS) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            row = await connection.fetchrow(_STANDING, app, block.kind, block.value)
            condition.hold(None if row is None else Block(**dict(row)).etag)
            new = await connection.fetchval(
                _PUT, app, block.kind, block.value, block.reason, block.until, block.by, block.at
            )
            if new is False and row is None:
                condition.hold("set meanwhile")
            return bool(new)

        return await ask_together(self._engine, work)

    async def lift_block(self, app: str, kind: str, value: str) -> bool:
        """See the port."""

        async def work(connection: Connection) -> bool:
            return bool(await connection.fetchval(_LIFT, app, kind, value))

        return await ask(self._engine, work)


class SqlReplays:
    """:class:`dispatcher.ports.operations.Replays` on PostgreSQL."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine

    async def replays(self, app: str, refs: Sequence[DeliveryRef]) -> Mapping[DeliveryRef, Replay]:
        """See the port. Primary key of replays."""

        async def work(connection: Connection) -> Mapping[DeliveryRef, Replay]:
            rows = await connection.fetch(_REPLAYS, app, [ref.home for ref in refs], [ref.place for ref in refs])
            found = [
                Replay(
                    ref=DeliveryRef(row["home"], row["place"]),
                    message_id=row["message_id"],
                    by=row["by"],
                    at=row["at"],
                )
                for row in rows
            ]
            return {replay.ref: replay for replay in found}

        return await ask(self._engine, work)

    async def note_replay(self, app: str, replay: Replay) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            ref = replay.ref
            await connection.execute(_NOTE, app, ref.home, ref.place, replay.message_id, replay.by, replay.at)

        await ask(self._engine, work)


async def forget_blocks(engine: AsyncEngine, now: Millis) -> None:
    """Drops blocks that lapsed a while ago, and replays of what is gone."""

    async def work(connection: Connection) -> None:
        await connection.execute(_FORGET, now - DAY)
        await connection.execute(_FORGET_REPLAYS, now - REPLAYS_KEPT)

    await ask(engine, work)
