"""What the ledger costs: CPU microseconds a row of this process and of the server, for accepting and archiving."""

import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path as FilePath

from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import MINUTE, Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, make_home
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.ledger.deliveries import SqlDeliveries
from dispatcher.ledger.engine import Connection, ask
from dispatcher.ledger.messages import SqlMessages
from dispatcher.ports.messages import SettledDelivery, Submission

_TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU a row, in microseconds. ``server_us`` None: PostgreSQL's process is not to be seen from here."""

    name: str
    batch: int
    rows: int
    client_us: float
    server_us: float | None


async def measure(engine: AsyncEngine, now: Millis, *, batch: int = 500, rows: int = 10_000) -> list[Cost]:
    """Accepts and archives *rows* one-recipient chat messages in batches, and keeps them: for a ledger to throw away.

    One connection, one batch after another. Message ids carry *now*, so that each run's are its own.
    """
    messages, deliveries = SqlMessages(engine), SqlDeliveries(engine)
    homes = [make_home(now, number, number % 64) for number in range(rows // batch)]
    submissions = [[_submission(home, place, now) for place in range(batch)] for home in homes]
    settled = [[_settled(home, place, now) for place in range(batch)] for home in homes]

    async def accept_all() -> None:
        for group in submissions:
            await messages.accept(group, now)

    async def archive_all() -> None:
        for group in settled:
            await deliveries.archive(group, [group[0].ref.home])

    await messages.find("bench", "warm-up")
    return [
        await _cost(engine, "accept", batch, len(homes) * batch, accept_all),
        await _cost(engine, "archive", batch, len(homes) * batch, archive_all),
    ]


async def _cost(engine: AsyncEngine, name: str, batch: int, rows: int, run: Callable[[], Awaitable[None]]) -> Cost:
    async def pid(connection: Connection) -> int:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))

    backend = await ask(engine, pid)  # the pool hands out the connection used last, so this one does the work
    server, client = _server_us(backend), time.process_time_ns()
    await run()
    client_us = (time.process_time_ns() - client) / 1_000 / rows
    after = _server_us(backend)
    server_us = None if server is None or after is None else (after - server) / rows
    return Cost(name=name, batch=batch, rows=rows, client_us=client_us, server_us=server_us)


def _server_us(pid: int) -> float | None:
    """User and system time of process *pid* (proc_pid_stat(5), fields 14 and 15), where it is on this machine."""
    stat = FilePath("/proc") / str(pid) / "stat"
    try:
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) * _TICK_US


def _submission(home: int, place: int, now: Millis) -> Submission:
    message_id = f"bench-{home:x}-{place}"
    notification = {"title": "Wang", "body": "Are you there? 你在吗", "badge": 3, "sound": "default"}
    body = (
        f'"message_id":"{message_id}","class":"chat","notification":{{"title":"Wang","body":"Are you there? 你在吗",'
        f'"badge":3,"sound":"default"}},"data":{{"conversation_id":"c42"}},"sent_at":{now}'
    )
    message = Message(
        app="bench",
        message_id=message_id,
        klass="chat",
        priority=Priority.NORMAL,
        body=body.encode(),
        accepted_at=now,
        expires_at=now + 5 * MINUTE,
        notification=notification,
        data={"conversation_id": "c42"},
    )
    return Submission(
        message=message,
        content_hash=home.to_bytes(16, "big"),
        home=home,
        place=place,
        index=place,
        user_ids=[f"user-{place}"],
        due=now,
    )


def _settled(home: int, place: int, now: Millis) -> SettledDelivery:
    tracks = f'[{{"device_id":"device-{place}","platform":"ios","state":"done","path":"apns","step":1,"attempt":0}}]'
    return SettledDelivery(
        ref=DeliveryRef(home, place),
        app="bench",
        user_id=f"user-{place}",
        message_id=f"bench-{home:x}-{place}",
        klass="chat",
        seq=now * 1_000 + place,
        end=End.CONFIRMED,
        proof=Proof.DELIVERED,
        confirmed_by=Path.APNS,
        confirmed_at=now + 900,
        accepted_at=now,
        settled_at=now + 900,
        strategy="default",
        version=1,
        rule="everyone",
        platform="ios",
        body=_submission(home, place, now).message.body,
        tracks=tracks.encode(),
    )
