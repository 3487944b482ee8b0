"""The stores behind the API, kept in memory: what a route asks of them, and no more."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from dispatcher.api.operations import AppDoor
from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Device, Platform, Profile
from dispatcher.domain.etag import ALWAYS, Condition, Stale
from dispatcher.domain.template import Template
from dispatcher.domain.webhook import StatusEvent
from dispatcher.errors import Problem
from dispatcher.ports.directory import (
    ApiKey,
    App,
    AuditEntry,
    Binding,
    DeviceRegistration,
    MissingPrecondition,
    StaleDraft,
    StrategyVersion,
    UserChange,
    UserQuery,
)
from dispatcher.ports.learning import LearningSettings
from dispatcher.ports.operations import Session
from dispatcher.ports.presence import Presence
from dispatcher.ports.webhooks import Webhook
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
        self.known: dict[str, App] = {}
        self.meanwhile: list[App] = []  #: what others change it to, each just before a change of ours
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
        return self.known.get(app_id) or App(app_id=app_id, name=app_id)

    async def change_app(self, app: App, *, standing: App) -> None:
        if self.meanwhile:
            self.known[app.app_id] = self.meanwhile.pop(0)
        if await self.app(app.app_id) != standing:
            raise Stale
        self.known[app.app_id] = app


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

    async def put(self, app: str, template: Template, condition: Condition = ALWAYS) -> tuple[Template, bool]:
        standing = self.kept.get((app, template.name))
        condition.hold(None if standing is None else standing.etag)
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
        self,
        app: str,
        url: str,
        events: Sequence[StatusEvent],
        secret: str | None,
        now: Millis,
        condition: Condition = ALWAYS,
    ) -> tuple[Webhook, str | None, bool]:
        if "10.0.0." in url:
            raise Problem.invalid("url", "the target is a private, loopback or link-local address")
        known = next((one for one in self.kept.values() if (one.app, one.url) == (app, url)), None)
        condition.hold(None if known is None else known.etag)
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
