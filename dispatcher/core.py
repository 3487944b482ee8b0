"""The core of one process, as its doors see it: HTTP routes, gateway and workers call it, nothing else."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InterfaceError

from dispatcher.bootstrap import Stores
from dispatcher.carrier_desk import take_callback, take_inbound
from dispatcher.domain.clock import SECOND, Clock, Millis
from dispatcher.domain.device import Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.requests import Accepted, CarrierCallback, Counts, DispatchRequest, InboxQuery, ReceiptItem
from dispatcher.errors import Kind, Problem
from dispatcher.operator_desk import OperatorDesk
from dispatcher.pipeline import look
from dispatcher.pipeline.accept import Acceptor, Conflict
from dispatcher.pipeline.dry_run import dry_run
from dispatcher.pipeline.erase import close_lines, end_in_flight, in_flight_of
from dispatcher.pipeline.gather import Overflow
from dispatcher.pipeline.held import ask_again
from dispatcher.pipeline.kept_books import KeptBooks
from dispatcher.pipeline.pull import Puller
from dispatcher.pipeline.quiet_hours import same_hours
from dispatcher.pipeline.recall import Recalled, recall
from dispatcher.pipeline.receive import Receiver
from dispatcher.ports.directory import Binding
from dispatcher.ports.messages import LedgerUnavailable
from dispatcher.settings import Settings
from dispatcher.strategy_desk import StrategyDesk
from dispatcher.template_desk import TemplateDesk
from dispatcher.webhook_desk import WebhookDesk

RECHECK_INBOX_S = 0.15


class AppCore(StrategyDesk):
    """Implements what ``dispatcher.api.core``, ``dispatcher.ports.receiving`` ask for."""

    def __init__(self, stores: Stores) -> None:
        super().__init__(stores)
        self.stores = stores
        self.parts = stores.parts
        self.acceptor = Acceptor(stores.parts, stores.settings.hot_shards)
        self.receiver = Receiver(stores.parts)
        self.puller = Puller(stores.parts, self.receiver)
        self.draining = asyncio.Event()
        self.outages = (LedgerUnavailable, RedisError, DBAPIError, InterfaceError, OSError, TimeoutError, Overflow)
        self.settings: Settings = stores.settings
        self.clock: Clock = stores.clock
        self.metrics = stores.metrics
        self.traces = stores.parts.traces
        self.apps = stores.apps
        self.directory = stores.directory
        self.profiles = stores.parts.profiles
        self.presences = stores.parts.presences
        self.audit = stores.audit
        self.throttle = stores.parts.throttle
        self.device_tokens: DeviceTokens = stores.tokens
        self.sealer = stores.sealer
        self.templates = stores.templates
        self.webhooks = WebhookDesk(stores)
        self._filling = TemplateDesk(stores)
        self.operations = OperatorDesk(stores, self.acceptor)
        self._books = KeptBooks(stores.books, stores.parts, stores.desk.shelf)

    # Dispatch

    async def accept(self, app: str, requests: Sequence[DispatchRequest], now: Millis) -> list[Accepted | Problem]:
        filled = await self._filling.fill(app, requests)
        good = [one for one in filled if isinstance(one, DispatchRequest)]
        results = iter(await self.acceptor.accept(app, good, now) if good else ())
        return [one if isinstance(one, Problem) else _answer(one, next(results)) for one in filled]

    async def dry_run(self, app: str, request: DispatchRequest) -> Mapping[str, Any]:
        (filled,) = await self._filling.fill(app, [request])
        if isinstance(filled, Problem):
            raise filled
        return await dry_run(app, filled, self.acceptor, self.parts, self.clock())

    async def message_state(self, app: str, message_id: str) -> Mapping[str, Any] | None:
        return await look.message_state(app, message_id, self.parts, self.clock())

    async def timeline(self, app: str, message_id: str, user_id: str | None) -> Mapping[str, Any] | None:
        try:
            return await look.timeline(app, message_id, user_id, self.parts, self.clock())
        except look.SeveralRecipients:
            raise Problem.invalid("user_id", "the message has several recipients: say whose timeline") from None

    def measure_sms(self, text: str) -> int:
        return self.parts.cut_sms(text, 255)[1]

    async def recall(self, app: str, message_id: str) -> Recalled | None:
        return await recall(app, message_id, self.parts, self.clock())

    # Phones

    async def pull(
        self, app: str, user_id: str, device_id: str | None, query: InboxQuery, wait_ms: Millis = 0
    ) -> bytes:
        """With *wait_ms* asks again in short turns until something is there; a parked poll on the gateway is woken."""
        until = self.clock() + wait_ms
        while True:
            answer = await self.puller.pull(app, user_id, device_id, query, self.clock())
            left = until - self.clock()
            if not answer.empty or left <= 0 or self.draining.is_set():
                return answer.body
            # wait_for can lose a cancellation that meets the end of what it waits for (Python 3.11)
            drained = asyncio.ensure_future(self.draining.wait())
            try:
                await asyncio.wait({drained}, timeout=min(left / SECOND, RECHECK_INBOX_S))
            finally:
                drained.cancel()

    async def receive(self, app: str, items: Sequence[ReceiptItem], now: Millis) -> Counts:
        return await self.receiver.receive(app, items, now)

    async def is_bound(self, identity: DeviceIdentity) -> bool:
        profiles = await self.profiles.get(identity.app, [identity.user_id])
        device = profiles[identity.user_id].device(identity.device_id)
        if device is not None:
            return device.epoch == identity.epoch
        # bound by the token but not registered yet: the ledger knows
        found = await self.directory.device(identity.app, identity.device_id)
        return found is not None and found[0] == identity.user_id and found[1].epoch == identity.epoch

    async def rebound(self, app: str, device_id: str, binding: Binding) -> None:
        before = await self.profiles.get(app, [profile.user_id for profile in binding.profiles])
        await self.profiles.put(binding.profiles)
        for profile in binding.profiles:
            if not same_hours(before[profile.user_id], profile):
                await ask_again(app, profile.user_id, self.parts, self.clock())
        if binding.moved_from is None:
            return
        await close_lines(app, binding.moved_from, self.parts, self.clock(), device_id=device_id)

    async def user_changed(self, before: Profile | None, profile: Profile) -> None:
        """What quiet hours hold is asked again where they changed."""
        if before is not None and not same_hours(before, profile):
            await ask_again(profile.app, profile.user_id, self.parts, self.clock())

    async def erase_user(self, app: str, user_id: str, by: str, now: Millis) -> bool:
        found = {*await in_flight_of(app, user_id, self.parts), *await self.directory.in_flight(app, user_id, now)}
        refs, known_as = list(found), self.sealer.erased_name(app, user_id)
        erased = await self.directory.delete_user(app, user_id, by, now, known_as=known_as, in_flight=bool(refs))
        await end_in_flight(refs, user_id, self.parts, now)
        await close_lines(app, user_id, self.parts, now)
        await self.parts.inboxes.forget_user(app, user_id)
        await self.stores.webhooks.forget_user(app, user_id)
        await self.parts.learning.forget_user(app, user_id)
        return erased

    async def sms_callback(self, provider: str, attempt_id: str, callback: CarrierCallback) -> None:
        await take_callback(self.stores, self.receiver, provider, attempt_id, callback)

    async def sms_inbound(self, provider: str, app: str, callback: CarrierCallback) -> None:
        await take_inbound(self.stores, provider, app, callback)

    # Operations

    async def books(self, app: str) -> Mapping[str, Any]:
        return await self._books.books(app)

    async def readiness(self) -> Mapping[str, str | None]:
        return {
            "hot_store": await _fault(self._ping_hot()),
            "ledger": await _fault(self._ping_ledger()),
            "broker": await _fault(self._ping_broker()),
        }

    async def _ping_hot(self) -> None:
        await self.stores.hot.client.ping()
        if await self.parts.inboxes.epoch() == 0:
            raise RuntimeError("not rebuilt yet")

    async def _ping_broker(self) -> None:
        """The broker itself where it is another server than the hot store."""
        if self.settings.broker_url is None:
            await self.stores.hot.client.ping()
        else:
            await asyncio.to_thread(ping_broker, self.settings.broker_url.reveal())

    async def _ping_ledger(self) -> None:
        async with self.stores.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))

    async def close(self) -> None:
        """Ends what was begun behind answers, then the stores."""
        await self.acceptor.close()
        await self._books.close()
        await self.receiver.sightings.close()
        await self.stores.close()


def _answer(request: DispatchRequest, result: Accepted | Exception) -> Accepted | Problem:
    match result:
        case Accepted() | Problem():
            return result
        case Conflict():
            return Problem(Kind.CONFLICT, f"message_id {request.message_id} was dispatched with other content")
        case Overflow():
            return Problem(Kind.OVERLOADED, "too many messages are waiting for the ledger", retry_after=SECOND)
        case LedgerUnavailable() | RedisError() | DBAPIError() | OSError() | TimeoutError():
            return Problem(Kind.UNAVAILABLE, "the ledger is away; nothing was accepted", retry_after=SECOND)
        case _:
            raise result


def ping_broker(url: str) -> None:
    """Connects to Celery's broker and leaves; raises what its transport raises."""
    from kombu.connection import Connection

    broker: Any = Connection  # it ships without types
    with broker(url, connect_timeout=1.5) as connection:
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=1.5)


async def _fault(check: Any) -> str | None:
    try:
        await asyncio.wait_for(check, 2)
    except Exception as error:  # noqa: BLE001 - whatever it is, the part is not ready
        return type(error).__name__
    return None
