"""An in-memory core behind the real door: it keeps what it was told and answers by it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import httpx
import msgspec
import pytest

from dispatcher.api.app import create_app
from dispatcher.api.core import Core, DocumentCheck, DocumentFault
from dispatcher.api.operations import AppDoor
from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import ForeignCursor
from dispatcher.domain.requests import Accepted, CarrierCallback, Counts, DispatchRequest, InboxQuery, ReceiptItem
from dispatcher.domain.template import Template
from dispatcher.domain.webhook import StatusEvent
from dispatcher.errors import Kind, Problem
from dispatcher.pipeline.recall import Recalled
from dispatcher.pipeline.traces import Traces
from dispatcher.ports.directory import (
    ApiKey,
    App,
    AuditEntry,
    Binding,
    DeviceRegistration,
    MissingPrecondition,
    NoDraft,
    StaleDraft,
    StrategyVersion,
    UserChange,
    UserQuery,
)
from dispatcher.ports.learning import LearningSettings
from dispatcher.ports.operations import Session
from dispatcher.ports.presence import Presence
from dispatcher.ports.templates import TemplateStale
from dispatcher.ports.webhooks import Webhook
from dispatcher.settings import Settings
from dispatcher.settings_source import load_settings
from dispatcher.telemetry import Metrics
from strategies.learn import Pin

NOW = 1_900_000_000_000
SECRET = "the-master-secret-of-these-tests-0123456789"
ALL_SCOPES = ("send", "users", "devices", "read", "strategies", "admin")


class StoreAway(Exception):
    """As a driver would raise it."""


class MemoryApps:
    """Keys by their secret; counts how often it was asked."""

    def __init__(self) -> None:
        self.secrets: dict[str, ApiKey] = {}
        self.asked = 0
        self.away = False

    def add(self, secret: str, app: str, *scopes: str) -> None:
        self.secrets[secret] = ApiKey(
            key_id=f"k{len(self.secrets)}", app_id=app, name=secret, scopes=frozenset(scopes), created_at=NOW
        )

    async def key_by_secret(self, secret: str) -> ApiKey | None:
        self.asked += 1
        if self.away:
            raise StoreAway
        return self.secrets.get(secret)

    async def app(self, app_id: str) -> App | None:
        return App(app_id=app_id, name=app_id)


class MemoryDirectory:
    """Users and devices by app."""

    def __init__(self) -> None:
        self.users: dict[tuple[str, str], Profile] = {}
        self.changes: list[UserChange] = []
        self.owner: dict[tuple[str, str], tuple[str, Device]] = {}

    async def profiles(self, app: str, user_ids: Sequence[str]) -> dict[str, Profile]:
        return {user: self.users[app, user] for user in user_ids if (app, user) in self.users}

    async def put_user(self, change: UserChange, now: Millis) -> tuple[Profile, bool]:
        self.changes.append(change)
        old = self.users.get((change.app, change.user_id))
        base = old or Profile(app=change.app, user_id=change.user_id)
        values = {name: value for name, value in change.values.items() if name != "phone_hash"}
        new = msgspec.structs.replace(base, rev=base.rev + 1, **values)
        self.users[change.app, change.user_id] = new
        return new, old is None

    async def list_users(self, app: str, query: UserQuery) -> list[Profile]:
        found = [profile for (owner, _), profile in sorted(self.users.items()) if owner == app]
        if query.phone_hash is not None or query.device_id is not None:
            return []
        after, begin = query.after or "", query.beginning
        return [one for one in found if one.user_id.startswith(begin) and one.user_id > after][: query.limit]

    async def list_devices(
        self, app: str, *, user_id: str | None, beginning: str, after: str | None, limit: int
    ) -> list[tuple[str, Device]]:
        found = [row for (owner, _), row in sorted(self.owner.items()) if owner == app]
        return [
            (user, device)
            for user, device in found
            if user_id in {None, user} and device.device_id.startswith(beginning) and device.device_id > (after or "")
        ][:limit]

    async def bind(self, app: str, device_id: str, user_id: str, now: Millis) -> Binding:
        bound = self.owner.get((app, device_id))
        moved = bound[0] if bound is not None and bound[0] != user_id else None
        device = bound[1] if bound is not None else Device(device_id=device_id, epoch=1, platform=Platform.NONE)
        if moved is not None:
            device = msgspec.structs.replace(device, epoch=device.epoch + 1, tokens=())
        self.owner[app, device_id] = (user_id, device)
        return Binding(user_id=user_id, epoch=device.epoch, moved_from=moved, profiles=())

    async def register(self, registration: DeviceRegistration, now: Millis) -> tuple[Binding, bool]:
        known = self.owner.get((registration.app, registration.device_id))
        binding = await self.bind(registration.app, registration.device_id, registration.user_id, now)
        self.owner[registration.app, registration.device_id] = (
            registration.user_id,
            Device(
                device_id=registration.device_id,
                epoch=binding.epoch,
                platform=registration.platform,
                tokens=tuple(registration.tokens),
                alerts_enabled=registration.alerts_enabled,
                app_version=registration.app_version,
                locale=registration.locale,
                time_zone=registration.time_zone,
            ),
        )
        return binding, known is None or known[1].platform is Platform.NONE

    async def device(self, app: str, device_id: str) -> tuple[str, Device] | None:
        return self.owner.get((app, device_id))

    async def remove_device(self, app: str, device_id: str, now: Millis) -> Binding | None:
        bound = self.owner.pop((app, device_id), None)
        return None if bound is None else Binding(user_id=bound[0], epoch=0, moved_from=None, profiles=())


class MemoryProfiles:
    def __init__(self) -> None:
        self.written: list[Profile] = []

    async def put(self, profiles: Sequence[Profile]) -> None:
        self.written.extend(profiles)


class MemoryPresences:
    def __init__(self) -> None:
        self.lines: list[Presence] = []

    async def of_users(self, app: str, user_ids: Sequence[str], now: Millis) -> Mapping[str, Sequence[Presence]]:
        return dict.fromkeys(user_ids, self.lines)


class MemoryStrategies:
    """One app's documents."""

    def __init__(self) -> None:
        self.live: list[StrategyVersion] = [
            StrategyVersion(name="default", version=1, document="strategy: default\n", etag="e1", state="live")
        ]
        self.drafts: dict[str, StrategyVersion] = {}
        self.learns = True
        self.pins: dict[str, Pin] = {}

    async def published(self, app: str) -> list[StrategyVersion]:
        return [version for version in self.live if version.state == "live"]

    async def draft(self, app: str, name: str) -> StrategyVersion | None:
        return self.drafts.get(name)

    async def put_draft(
        self, app: str, name: str, document: str, *, if_match: str | None, by: str, now: Millis
    ) -> StrategyVersion:
        live = next((version for version in await self.published(app) if version.name == name), None)
        current = self.drafts.get(name) or live
        if current is not None and if_match is None:
            raise MissingPrecondition
        if if_match is not None and (current is None or current.etag != if_match):
            raise StaleDraft
        etag = f"d{hash(document) & 0xFFFF:x}"
        self.drafts[name] = StrategyVersion(name=name, version=None, document=document, etag=etag, by=by)
        return self.drafts[name]

    async def versions(self, app: str, name: str) -> list[StrategyVersion]:
        return [version for version in self.live if version.name == name]

    async def version(self, app: str, name: str, version: int) -> StrategyVersion | None:
        return next((found for found in self.live if (found.name, found.version) == (name, version)), None)

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool:
        if name == "default":
            raise ValueError(name)
        before = len(self.live)
        self.live = [version for version in self.live if version.name != name]
        return len(self.live) < before

    async def learning(self, app: str) -> LearningSettings:
        return LearningSettings(enabled=self.learns, pins=self.pins)

    async def switch_learning(self, app: str, enabled: bool, *, by: str, now: Millis) -> None:
        self.learns = enabled

    async def pin(self, app: str, key: str, pin: Pin | None, *, by: str, now: Millis) -> bool:
        known = self.pins.pop(key, None)
        if pin is not None:
            self.pins[key] = pin
        return pin is not None or known is not None


class MemoryTemplates:
    """Templates by app and name."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, str], Template] = {}

    async def get(self, app: str, name: str) -> Template | None:
        return self.kept.get((app, name))

    async def all(self, app: str) -> list[Template]:
        return [template for (owner, _), template in sorted(self.kept.items()) if owner == app]

    async def put(self, app: str, template: Template, *, if_match: str | None) -> tuple[Template, bool]:
        standing = self.kept.get((app, template.name))
        if if_match is not None and (standing is None or if_match not in {standing.etag, "*"}):
            raise TemplateStale
        self.kept[app, template.name] = template
        return template, standing is None

    async def delete(self, app: str, name: str, *, by: str, now: Millis) -> bool:
        return self.kept.pop((app, name), None) is not None


class MemoryWebhooks:
    """The desk and its store in one."""

    def __init__(self) -> None:
        self.kept: dict[str, Webhook] = {}

    @property
    def store(self) -> "MemoryWebhooks":
        return self

    async def register(
        self, app: str, url: str, events: Sequence[StatusEvent], secret: str | None, now: Millis
    ) -> tuple[Webhook, str | None, bool]:
        if "10.0.0." in url:
            raise Problem.invalid("url", "the target is a private, loopback or link-local address")
        known = next((one for one in self.kept.values() if (one.app, one.url) == (app, url)), None)
        webhook_id = known.webhook_id if known else f"wh_{len(self.kept)}"
        webhook = Webhook(webhook_id=webhook_id, app=app, url=url, events=frozenset(events), created_at=now)
        self.kept[webhook_id] = webhook
        return webhook, secret or (None if known else "whsec_made"), known is None

    async def of_app(self, app: str) -> list[Webhook]:
        return [one for one in self.kept.values() if one.app == app]

    async def pause(self, app: str, webhook_id: str, reason: str, now: Millis) -> Webhook | None:
        return await self._change(app, webhook_id, paused_at=now, paused_reason=reason)

    async def resume(self, app: str, webhook_id: str, now: Millis) -> Webhook | None:
        return await self._change(app, webhook_id, paused_at=None, paused_reason=None, failing_since=None)

    async def waiting(self, app: str, webhook_id: str, most: int) -> bytes:
        return b""

    async def _change(self, app: str, webhook_id: str, **changes: Any) -> Webhook | None:
        known = self.kept.get(webhook_id)
        if known is None or known.app != app:
            return None
        self.kept[webhook_id] = replace(known, **changes)
        return self.kept[webhook_id]

    async def remove(self, app: str, *, webhook_id: str | None = None, url: str | None = None) -> bool:
        for one in await self.of_app(app):
            if webhook_id == one.webhook_id or url == one.url:
                del self.kept[one.webhook_id]
                return True
        return False


class MemoryAudit:
    def __init__(self) -> None:
        self.recorded: list[AuditEntry] = []

    async def record(self, app: str, entry: AuditEntry) -> None:
        self.recorded.append(entry)

    async def entries(self, app: str, *, before: int | None, limit: int) -> list[tuple[int, AuditEntry]]:
        rows = [
            (number, AuditEntry(at=NOW, who="key:all", action="user.update", subject=f"u{number}", detail={}))
            for number in range(5, 0, -1)
        ]
        return [row for row in rows if before is None or row[0] < before][:limit]


class MemoryThrottle:
    """Fixed windows."""

    def __init__(self) -> None:
        self.spent: dict[tuple[str, int], int] = {}
        self.asked = 0

    async def permit(self, key: str, *, limit: int, window_ms: Millis, now: Millis, cost: int = 1) -> Millis:
        self.asked += 1
        window = (key, now // window_ms)
        if self.spent.get(window, 0) + cost > limit:
            return window_ms - now % window_ms
        self.spent[window] = self.spent.get(window, 0) + cost
        return 0


class MemoryOperations:
    """Rules at the entry by app, sessions by token."""

    def __init__(self, apps: MemoryApps) -> None:
        self.doors: dict[str, AppDoor] = {}
        self.sessions: dict[str, Session] = {}
        self.operators = self
        self._apps = apps

    async def door(self, app: str) -> AppDoor | None:
        if self._apps.away:
            raise StoreAway
        return self.doors.get(app, AppDoor())

    async def session_by_token(self, token: str, now: Millis) -> Session | None:
        return self.sessions.get(token)


class PlainSealer:
    """Turns the bytes round: enough to see that nothing leaves unsealed."""

    def seal(self, plain: bytes) -> bytes:
        return b"sealed:" + plain[::-1]

    def open(self, sealed: bytes) -> bytes:
        return sealed.removeprefix(b"sealed:")[::-1]

    def number_hash(self, number: str) -> bytes:
        return b"hash of " + number[-2:].encode()


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


def environ(**more: str) -> dict[str, str]:
    return {
        "PUSHPATH_LEDGER_URL": "postgresql+asyncpg://u@h/d",
        "PUSHPATH_HOT_STORE_URL": "redis://h",
        "PUSHPATH_SECRET_KEY": SECRET,
        **more,
    }


@pytest.fixture
def settings() -> Settings:
    return load_settings(None, environ())


@pytest.fixture
def core(settings: Settings) -> MemoryCore:
    core = MemoryCore(settings)
    core.apps.add("all", "im", *ALL_SCOPES)
    for scope in ALL_SCOPES:
        core.apps.add(f"only-{scope}", "im", scope)
    core.apps.add("stranger", "other", *ALL_SCOPES)
    return core


@pytest.fixture
def open_door(core: MemoryCore) -> Callable[..., httpx.AsyncClient]:
    """A door over ASGI, made now: with the core's settings as they are."""

    def made(headers: Mapping[str, str] | None = None, *, client: tuple[str, int] = ("10.0.0.1", 1)) -> Any:
        app: Any = create_app(is_a_core(core))
        transport = httpx.ASGITransport(app=app, raise_app_exceptions=False, client=client)
        return httpx.AsyncClient(transport=transport, base_url="http://api", headers=headers or {})

    return made


@pytest.fixture
async def client(open_door: Callable[..., httpx.AsyncClient]) -> AsyncIterator[httpx.AsyncClient]:
    """The door, asked by a backend with every scope unless a call says otherwise."""
    async with open_door({"Authorization": "Bearer all"}) as client:
        yield client
