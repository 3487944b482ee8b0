"""What the routes ask of the core. Implemented by the composition root; tests have an in-memory twin.

Verbs return expected results and raise :class:`dispatcher.errors.Problem` for what the caller did wrong (an unknown
template); a foreign cursor is ``dispatcher.domain.ids.ForeignCursor``. Exceptions listed in ``outages`` mean that a
store is away: the door answers 503 with Retry-After. Everything else is a fault of ours: 500, logged.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from msgspec import Struct

from dispatcher.api.operations import Operations
from dispatcher.domain.clock import Clock, Millis
from dispatcher.domain.device import Profile
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.etag import ALWAYS, Condition
from dispatcher.domain.requests import Accepted, CarrierCallback, Counts, DispatchRequest, InboxQuery, ReceiptItem
from dispatcher.domain.webhook import StatusEvent
from dispatcher.errors import Problem
from dispatcher.pipeline.recall import Recalled
from dispatcher.pipeline.traces import Traces
from dispatcher.ports.directory import Apps, Audit, Binding, Directory, StrategyStore, StrategyVersion
from dispatcher.ports.presence import Presences
from dispatcher.ports.profiles import Profiles
from dispatcher.ports.templates import Templates
from dispatcher.ports.throttle import Throttle
from dispatcher.ports.webhooks import Webhook, Webhooks
from dispatcher.settings import Settings
from dispatcher.telemetry import Metrics

#: Told how far a long work is: (done, all of it).
Progress = Callable[[int, int], None]


class Sealer(Protocol):
    """Keeps phone numbers readable only for who holds the master secret."""

    def seal(self, plain: bytes, /) -> bytes:
        """Encrypted and authenticated."""

    def open(self, sealed: bytes, /) -> bytes:
        """The plain bytes; raises where the key is not ours."""

    def number_hash(self, number: str, /) -> bytes:
        """A keyed hash: the same number is recognised without being stored."""


class DocumentFault(Struct, frozen=True):
    """One thing wrong in a strategy document, and what to write instead. Line and column from 1."""

    line: int
    column: int
    message: str


class DocumentCheck(Struct, frozen=True, kw_only=True):
    """What validation found. ``name`` and ``document`` (as a JSON object) as far as they could be read."""

    errors: tuple[DocumentFault, ...] = ()
    name: str | None = None
    document: dict[str, Any] | None = None

    @property
    def valid(self) -> bool:
        return not self.errors


class WebhookDoor(Protocol):
    """Registering webhooks; everything else is asked of their store."""

    @property
    def store(self) -> Webhooks: ...

    async def register(
        self,
        app: str,
        url: str,
        events: Sequence[StatusEvent],
        secret: str | None,
        now: Millis,
        condition: Condition = ALWAYS,
    ) -> tuple[Webhook, str | None, bool]:
        """The webhook, its secret where it was given or made now, and whether it is new. Problem 422; raises Stale."""


class Core(Protocol):
    """Everything the routes call."""

    @property
    def settings(self) -> Settings: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def metrics(self) -> Metrics: ...
    @property
    def traces(self) -> Traces | None:
        """Where requests are traced; None: they are not."""
        ...

    @property
    def draining(self) -> asyncio.Event:
        """Set when this process stops: every parked :meth:`pull` answers at once with what there is."""
        ...

    @property
    def outages(self) -> tuple[type[Exception], ...]:
        """Exceptions by which stores say that they are away."""
        ...

    @property
    def apps(self) -> Apps: ...
    @property
    def directory(self) -> Directory: ...
    @property
    def profiles(self) -> Profiles: ...
    @property
    def presences(self) -> Presences: ...
    @property
    def strategies(self) -> StrategyStore: ...
    @property
    def audit(self) -> Audit: ...
    @property
    def throttle(self) -> Throttle: ...
    @property
    def templates(self) -> Templates: ...
    @property
    def webhooks(self) -> WebhookDoor: ...
    @property
    def operations(self) -> Operations: ...
    @property
    def device_tokens(self) -> DeviceTokens: ...
    @property
    def sealer(self) -> Sealer: ...

    async def accept(self, app: str, requests: Sequence[DispatchRequest], now: Millis) -> Sequence[Accepted | Problem]:
        """Puts messages into the ledger, gathered with what other callers ask for at the same time.

        Same length and order. A conflict (same id, other content) is a Problem of kind CONFLICT.
        """

    async def dry_run(self, app: str, request: DispatchRequest) -> Mapping[str, Any]:
        """``{recipients: [{user_id, tracks: [{device_id, rule, explanation, ladder}]}]}``; stores and sends nothing."""

    async def message_state(self, app: str, message_id: str) -> Mapping[str, Any] | None:
        """The body of GET /v1/messages/{message_id}; None where the app has no such message."""

    async def timeline(self, app: str, message_id: str, user_id: str | None) -> Mapping[str, Any] | None:
        """``{events: [...]}`` in order; None where there is no such message or recipient.

        Without *user_id* and with several recipients: Problem 422 for the field ``user_id``.
        """

    def measure_sms(self, text: str) -> int:
        """How many segments a text takes."""

    async def recall(self, app: str, message_id: str) -> Recalled | None:
        """Ends what is pending; None where the app has no such message. Repeating it changes nothing."""

    async def pull(self, app: str, user_id: str, device_id: str | None, query: InboxQuery, wait_ms: Millis) -> bytes:
        """An inbox page as JSON. With *wait_ms*, waits so long for something new; may be cancelled while it waits."""

    async def receive(self, app: str, items: Sequence[ReceiptItem], now: Millis) -> Counts:
        """Applies receipts before it answers."""

    async def sms_callback(self, provider: str, attempt_id: str, callback: CarrierCallback) -> None:
        """A carrier's status; the public URL in front of its path is a setting.

        Raises Problem BAD_SIGNATURE or MALFORMED (nothing was changed) or NOT_FOUND (no such provider or attempt).
        """

    async def sms_inbound(self, provider: str, app: str, callback: CarrierCallback) -> None:
        """A text that a phone sent to us (START, STOP). Raises as :meth:`sms_callback`."""

    async def is_bound(self, identity: DeviceIdentity) -> bool:
        """Whether the token's epoch is still the device's, and its user the token's."""

    async def rebound(self, app: str, device_id: str, binding: Binding) -> None:
        """After bind, register or remove: writes profiles through; of a moved device, ends the old user's sessions and
        pending pushes. *binding* is what the directory returned."""

    async def user_changed(self, before: Profile | None, profile: Profile) -> None:
        """After a change of a user: what their quiet hours hold is asked again where those changed."""

    async def erase_user(self, app: str, user_id: str, by: str, now: Millis) -> bool:
        """Erases the user everywhere, what is in flight included; False where nothing was known of them."""

    async def device_rates(self, app: str, user_id: str, device_id: str) -> Mapping[str, Any]:
        """What was learned from this device's receipts, by path; empty before there is anything."""

    async def validate_strategy(self, app: str, document: str) -> DocumentCheck:
        """Reads and compiles a document (YAML or JSON text); stores nothing."""

    async def publish_strategy(self, app: str, name: str, percent: int, by: str, now: Millis) -> StrategyVersion:
        """Judges the draft against the other published ones (Problem 422), then makes it live. Raises NoDraft."""

    async def rollback_strategy(self, app: str, name: str, version: int, by: str, now: Millis) -> StrategyVersion:
        """Makes an earlier version's document live for all, as a new version. Judged like a publish (Problem 422).

        KeyError: there is no such version.
        """

    async def version_figures(
        self, app: str, name: str, since: Millis, until: Millis
    ) -> Mapping[int, Mapping[str, Any]]:
        """What the versions came to, from deliveries settled in the window; versions without any are absent."""

    async def simulate_facts(self, app: str, document: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """Rule, ladder and explanation for given facts. Problem 422 for a faulty document or unknown facts."""

    async def simulate_recorded(
        self,
        app: str,
        document: str,
        since: Millis,
        until: Millis,
        *,
        sample: float,
        segment_price: float,
        progress: Progress | None = None,
    ) -> Mapping[str, Any]:
        """A draft held against what is live, over the window's traffic. Problem 422 for a faulty document.

        *progress* is told (deliveries done, all of them) after each piece. Cancelling stops it.
        """

    async def learned_segments(self, app: str) -> Mapping[str, Any]:
        """What receipts taught of each segment of devices, by its key."""

    def facts(self) -> Mapping[str, Any]:
        """``{facts: [{name, type, description, sample, known}]}``."""

    async def books(self, app: str) -> Mapping[str, Any]:
        """Accepted, settled and open by class, at one cut in time, from the two stores."""

    async def readiness(self) -> Mapping[str, str | None]:
        """By part (``hot_store``, ``ledger``, ``broker``): None where it is well, else what is wrong."""
