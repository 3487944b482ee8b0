"""An in-memory core behind the real door: it keeps what it was told and answers by it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from dispatcher.api.core import Core, DocumentCheck, DocumentFault
from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import ForeignCursor
from dispatcher.domain.requests import Accepted, CarrierCallback, Counts, DispatchRequest, InboxQuery, ReceiptItem
from dispatcher.errors import Kind, Problem
from dispatcher.pipeline.recall import Recalled
from dispatcher.pipeline.traces import Traces
from dispatcher.ports.directory import (
    Binding,
    NoDraft,
    StrategyVersion,
)
from dispatcher.settings import Settings
from dispatcher.telemetry import Metrics
from tests.unit.api.stores import (
    NOW,
    SECRET,
    MemoryApps,
    MemoryAudit,
    MemoryDirectory,
    MemoryOperations,
    MemoryPresences,
    MemoryProfiles,
    MemoryStrategies,
    MemoryTemplates,
    MemoryThrottle,
    MemoryWebhooks,
    PlainSealer,
    StoreAway,
)


class MemoryCore:
    """The core's verbs over dictionaries."""

    outages = (StoreAway,)

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.now = NOW
        self.metrics = Metrics()
        self.traces: Traces | None = None
        self.draining = asyncio.Event()
        self.apps = MemoryApps()
        self.directory = MemoryDirectory()
        self.profiles = MemoryProfiles()
        self.presences = MemoryPresences()
        self.strategies = MemoryStrategies()
        self.audit = MemoryAudit()
        self.templates = MemoryTemplates()
        self.webhooks = MemoryWebhooks()
        self.throttle = MemoryThrottle()
        self.device_tokens = DeviceTokens(SECRET.encode())
        self.sealer = PlainSealer()
        self.operations = MemoryOperations(self.apps)
        self.messages: dict[tuple[str, str], tuple[DispatchRequest, Accepted]] = {}
        self.accepts: list[list[str]] = []
        self.receipts: list[ReceiptItem] = []
        self.pulls: list[tuple[str, str, str | None, InboxQuery, Millis]] = []
        self.callbacks: list[tuple[str, str, str, Mapping[str, str]]] = []
        self.hours: list[tuple[Profile | None, Profile]] = []
        self.windows: list[tuple[Millis, Millis]] = []
        self.trial: Callable[[Callable[[int, int], None]], Awaitable[Mapping[str, Any]]] | None = None
        self.rebindings: list[tuple[str, Binding]] = []
        self.faults: dict[str, str | None] = {"hot_store": None, "ledger": None, "broker": None}
        self.parked = asyncio.Event()
        self.abandoned = False
        self.break_with: Exception | None = None

    def clock(self) -> Millis:
        return self.now

    async def accept(self, app: str, requests: Sequence[DispatchRequest], now: Millis) -> Sequence[Accepted | Problem]:
        self.accepts.append([request.message_id for request in requests])
        if self.break_with is not None:
            raise self.break_with
        return [self._accept(app, request, now) for request in requests]

    def _accept(self, app: str, request: DispatchRequest, now: Millis) -> Accepted | Problem:
        known = self.messages.get((app, request.message_id))
        if known is not None and known[0].content_hash() != request.content_hash():
            return Problem.conflict("the message id is taken by other content")
        if known is not None:
            return msgspec.structs.replace(known[1], duplicate=True)
        accepted = Accepted(
            message_id=request.message_id, accepted_at=now, recipients=request.recipients, duplicate=False
        )
        self.messages[app, request.message_id] = (request, accepted)
        return accepted

    async def dry_run(self, app: str, request: DispatchRequest) -> Mapping[str, Any]:
        return {"recipients": [{"user_id": user, "tracks": []} for user in request.user_ids]}

    async def message_state(self, app: str, message_id: str) -> Mapping[str, Any] | None:
        known = self.messages.get((app, message_id))
        return None if known is None else {"message_id": message_id, "class": known[0].klass, "state": "open"}

    async def timeline(self, app: str, message_id: str, user_id: str | None) -> Mapping[str, Any] | None:
        known = self.messages.get((app, message_id))
        if known is None or (user_id is not None and user_id not in known[0].user_ids):
            return None
        if user_id is None and known[0].recipients > 1:
            raise Problem.invalid("user_id", "required where there are several recipients")
        return {"events": [{"kind": "accepted"}]}

    def measure_sms(self, text: str) -> int:
        return 1 + len(text) // 70

    async def recall(self, app: str, message_id: str) -> Recalled | None:
        known = self.messages.get((app, message_id))
        if known is None:
            return None
        count = known[0].recipients
        return Recalled(message_id=message_id, deliveries=count, pending=count, sms_sent=("li",))

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, wait_ms: Millis) -> bytes:
        self.pulls.append((app, user_id, device_id, query, wait_ms))
        if query.after == "foreign":
            raise ForeignCursor("not yours")
        if wait_ms:
            self.parked.set()
            try:
                await self.draining.wait()
            except asyncio.CancelledError:
                self.abandoned = True
                raise
        return b'{"messages":[],"next":null,"more":false,"unread":0,"poll_after":"30s"}'

    async def receive(self, app: str, items: Sequence[ReceiptItem], now: Millis) -> Counts:
        self.receipts.extend(items)
        known = sum((app, item.message_id) in self.messages for item in items)
        return Counts(accepted=known, unknown=len(items) - known, duplicate=0)

    async def sms_callback(self, provider: str, attempt_id: str, callback: CarrierCallback) -> None:
        if provider != "twilio":
            raise Problem.not_found("provider")
        if callback.headers.get("x-twilio-signature") != "good":
            raise Problem(Kind.BAD_SIGNATURE, "the signature does not match")
        self.callbacks.append((provider, attempt_id, callback.url_path, callback.form))

    async def sms_inbound(self, provider: str, app: str, callback: CarrierCallback) -> None:
        self.callbacks.append((provider, app, callback.url_path, callback.form))

    async def is_bound(self, identity: DeviceIdentity) -> bool:
        bound = self.directory.owner.get((identity.app, identity.device_id))
        return bound is not None and (bound[0], bound[1].epoch) == (identity.user_id, identity.epoch)

    async def rebound(self, app: str, device_id: str, binding: Binding) -> None:
        self.rebindings.append((device_id, binding))

    async def user_changed(self, before: Profile | None, profile: Profile) -> None:
        self.hours.append((before, profile))

    async def rollback_strategy(self, app: str, name: str, version: int, by: str, now: Millis) -> StrategyVersion:
        earlier = await self.strategies.version(app, name, version)
        if earlier is None:
            raise KeyError(version)
        return replace(earlier, version=99, percent=100)

    async def version_figures(
        self, app: str, name: str, since: Millis, until: Millis
    ) -> Mapping[int, Mapping[str, Any]]:
        self.windows.append((since, until))
        return {1: {"deliveries": 3}}

    async def simulate_facts(self, app: str, document: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"rule": "everyone", "document": document, "facts": facts}

    async def simulate_recorded(
        self,
        app: str,
        document: str,
        since: Millis,
        until: Millis,
        *,
        sample: float,
        segment_price: float,
        progress: Any = None,
    ) -> Mapping[str, Any]:
        self.windows.append((since, until))
        if self.trial is not None:
            found: Mapping[str, Any] = await self.trial(progress)
            return found
        return {"decisions": 0, "sample": sample, "segment_price": segment_price}

    async def learned_segments(self, app: str) -> Mapping[str, Any]:
        return {"s:fcm:android:xiaomi:8.1:86": {"ack_rate": 0.5}}

    async def erase_user(self, app: str, user_id: str, by: str, now: Millis) -> bool:
        return self.directory.users.pop((app, user_id), None) is not None

    async def device_rates(self, app: str, user_id: str, device_id: str) -> Mapping[str, Any]:
        return {"longconn": {"ack_rate": 0.9}}

    async def validate_strategy(self, app: str, document: str) -> DocumentCheck:
        try:
            read = msgspec.yaml.decode(document)
        except msgspec.DecodeError:
            return DocumentCheck(errors=(DocumentFault(1, 1, "this is no YAML"),))
        if not isinstance(read, dict) or not isinstance(read.get("strategy"), str):
            return DocumentCheck(errors=(DocumentFault(1, 1, "write strategy: NAME"),))
        return DocumentCheck(name=read["strategy"], document=read)

    async def publish_strategy(self, app: str, name: str, percent: int, by: str, now: Millis) -> StrategyVersion:
        draft = self.strategies.drafts.pop(name, None)
        if draft is None:
            raise NoDraft
        version = 1 + max((found.version or 0 for found in self.strategies.live if found.name == name), default=0)
        new = StrategyVersion(
            name=name, version=version, document=draft.document, etag=draft.etag, published_at=now, by=by, state="live"
        )
        self.strategies.live = [found for found in self.strategies.live if found.name != name] + [new]
        return new

    def facts(self) -> Mapping[str, Any]:
        return {"facts": [{"name": "message.class", "type": "string"}]}

    async def books(self, app: str) -> Mapping[str, Any]:
        return {"classes": {"chat": {"accepted": 3, "settled": 2, "open": 1}}, "balanced": True}

    async def readiness(self) -> Mapping[str, str | None]:
        return self.faults

    def phone(self, user_id: str = "li", device_id: str = "d-1", app: str = "im", ttl: Millis = 60_000) -> str:
        """A device token for a device that is bound."""
        epoch = 1
        bound = self.directory.owner.get((app, device_id))
        if bound is None:
            device = Device(device_id=device_id, epoch=epoch, platform=Platform.NONE)
            self.directory.owner[app, device_id] = (user_id, device)
        else:
            epoch = bound[1].epoch
        identity = DeviceIdentity(app=app, user_id=user_id, device_id=device_id, epoch=epoch, expires_at=self.now + ttl)
        return self.device_tokens.mint(identity, self.now)


def is_a_core(core: MemoryCore) -> Core:
    """For the type checker: the twin has what the door needs."""
    return core  # type: ignore[return-value]  # its stores hold only what routes ask for
