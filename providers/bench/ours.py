"""Our providers, and what all clients send."""

import asyncio

from dispatcher.domain.clock import system_clock
from dispatcher.domain.device import PushToken
from dispatcher.domain.ids import attempt_id
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.outcome import HandedOver
from dispatcher.domain.paths import Path
from providers.apns.requests import build_request, push_of
from providers.apns.signer import Signer
from providers.base import Attempt, Provider
from providers.bench.cost import cost_of
from providers.credentials import ApnsCredentials

BATCH = 500
DELIVERY = "0123456789abcdef0000deadbeef"
TEXT = "Are you there? 你在吗"


def attempts_for(path: Path, count: int, now: int) -> list[Attempt]:
    """Distinct devices, messages and ids; a body of about 300 bytes."""
    kind = "device" if path is Path.APNS else "registration"
    found = []
    for place in range(count):
        message = Message(
            app="bench",
            message_id=f"cm-{place}",
            klass="chat",
            priority=Priority.HIGH,
            body=b"",
            accepted_at=now,
            expires_at=now + 3_600_000,
            notification={"title": "Wang", "body": TEXT, "badge": 3, "sound": "default"},
            data={"conversation_id": f"c{place}"},
        )
        found.append(
            Attempt(
                attempt_id=attempt_id(DELIVERY, place // 250 % 250, 0, place % 250, path),
                delivery_id=DELIVERY,
                user_id=f"u{place}",
                message=message,
                expires_at=message.expires_at,
                platform="android" if path is Path.FCM else "ios",
                token=PushToken(path=path, kind=kind, value=f"{place:064x}"),
            )
        )
    return found


async def ours(provider: Provider, path: Path, count: int) -> float:
    now = system_clock()
    attempts = attempts_for(path, count, now)
    await provider.send(attempts[:1], now)

    async def work() -> int:
        taken = 0
        for start in range(0, count, 2 * BATCH):
            halves = (attempts[start : start + BATCH], attempts[start + BATCH : start + 2 * BATCH])
            for outcomes in await asyncio.gather(*(provider.send(half, now) for half in halves if half)):
                taken += sum(isinstance(outcome, HandedOver) for outcome in outcomes)
        return taken

    try:
        return await cost_of(work, count)
    finally:
        await provider.close()


def prepared(apns: ApnsCredentials, count: int) -> list[tuple[str, list[str], bytes]]:
    """Requests built beforehand: bare pycurl pays for the wire alone."""
    now = system_clock()
    bearer = Signer(apns.key_pem or "", apns.key_id or "", apns.team_id or "").bearer(now)
    found = []
    for attempt in attempts_for(Path.APNS, count, now):
        request = build_request(push_of(attempt), apns.endpoint or "", apns.topic, bearer)
        found.append((request.url, [f"{name}: {value}" for name, value in request.headers], request.body))
    return found
