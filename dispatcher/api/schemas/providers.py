"""Answers of the routes about providers and their credentials."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from dispatcher.api.operations import CarrierView, CredentialView, ProviderView
from dispatcher.domain.circuit import CircuitState
from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.paths import Path
from dispatcher.ports.circuits import WINDOW

#: Paths that take credentials.
CREDENTIAL_PATHS = (Path.APNS, Path.FCM, Path.SMS)
#: For route parameters.
PATHS = {path.value: path for path in Path}


class ReasonOut(Struct, kw_only=True):
    """How often which answer came."""

    outcome: str
    reason: str
    count: int


class HealthOut(Struct, kw_only=True):
    """Judged by circuit and receipts. ``state``: well, unwell, or unknown (nothing was sent lately).

    Of the attempts whose wait ended within the window, ``proven`` had a receipt and ``unproven`` had none;
    ``usual_rate`` and ``usual_p95_s`` are what this path is compared with, its own last hours (null: not known yet).
    """

    state: str
    reason: str | None
    proven: int
    unproven: int
    rate: float | None
    usual_rate: float | None
    usual_p95_s: float | None


class BrakeOut(Struct, kw_only=True):
    """The vendor's Retry-After, which every worker keeps."""

    since: str
    until: str
    left_s: float


class QuotaOut(Struct, kw_only=True):
    """What the vendor allows, and what of it the last ``window_s`` (up to half as much more) took."""

    limit: int
    window_s: int
    used: int
    left: int


class CheckOut(Struct, kw_only=True):
    """A look at stored credentials."""

    at: str
    well: bool
    text: str


class CredentialAgeOut(Struct, kw_only=True):
    """How old credentials are and when they were last looked at (null: not since the hot store was emptied)."""

    changed_at: str
    age_s: int
    check: CheckOut | None


class CarrierOut(Struct, kw_only=True):
    """One of several SMS carriers, the preferred one first. One that rests is asked after all others until then."""

    name: str
    state: str
    reason: str | None
    since: str | None
    until: str | None
    left_s: float | None


class ProviderOut(Struct, kw_only=True):
    """One path. ``answers``, ``reasons`` and ``receipt_s`` (median seconds from hand-over to proof) are of the last
    ``window_s``. ``probe_at``: when an open circuit is tried next. ``braked_devices``: single devices that wait."""

    path: str
    name: str
    configured: bool
    circuit: str
    paused: bool
    reason: str | None
    since: str | None
    probe_at: str | None
    answers: dict[str, int]
    reasons: list[ReasonOut]
    window_s: int
    receipt_s: float | None
    receipt_p95_s: float | None
    health: HealthOut
    brake: BrakeOut | None
    braked_devices: int
    quota: QuotaOut | None
    credentials: CredentialAgeOut | None
    carriers: list[CarrierOut]


class ProvidersOut(Struct):
    """All paths, also those without credentials."""

    providers: list[ProviderOut]


def _time(at: Millis | None) -> str | None:
    return None if at is None else rfc3339(at)


def provider_out(view: ProviderView, now: Millis) -> ProviderOut:
    """As the API shows it."""
    shown, brakes = view.view, view.brakes
    answers: dict[str, int] = {}
    for (outcome, _), count in shown.answers.items():
        answers[outcome] = answers.get(outcome, 0) + count
    return ProviderOut(
        path=view.path,
        name=view.name,
        configured=view.configured,
        circuit=shown.state,
        paused=shown.paused,
        reason=shown.reason,
        since=_time(shown.since),
        probe_at=_time(shown.probe_at),
        answers=answers,
        reasons=[
            ReasonOut(outcome=outcome, reason=reason, count=count)
            for (outcome, reason), count in sorted(shown.answers.items(), key=lambda item: -item[1])
            if reason
        ],
        window_s=WINDOW // 1_000,
        receipt_s=view.receipt_s,
        receipt_p95_s=view.receipt_p95_s,
        health=_health(view),
        brake=BrakeOut(since=rfc3339(brakes.since), until=rfc3339(brakes.until), left_s=_seconds(brakes.until - now))
        if brakes.until
        else None,
        braked_devices=len(brakes.members),
        quota=_quota(view),
        credentials=_age(view.credentials, now),
        carriers=[_carrier(one, now) for one in view.carriers],
    )


def _seconds(length: Millis) -> float:
    return round(max(length, 0) / 1_000, 1)


def _health(view: ProviderView) -> HealthOut:
    shown = view.view
    proven = sum(shown.receipts.values())
    state = "unwell" if shown.state is not CircuitState.CLOSED else "well" if shown.answers or proven else "unknown"
    return HealthOut(
        state=state,
        reason=shown.reason if state == "unwell" and not shown.paused else None,
        proven=proven,
        unproven=shown.vain,
        rate=round(proven / (proven + shown.vain), 3) if proven + shown.vain else None,
        usual_rate=None if shown.usual_rate is None else round(shown.usual_rate, 3),
        usual_p95_s=shown.usual_p95_s,
    )


def _quota(view: ProviderView) -> QuotaOut | None:
    if view.quota is None:
        return None
    used = view.view.last_minute
    return QuotaOut(limit=view.quota, window_s=60, used=used, left=max(view.quota - used, 0))


def _check(view: CredentialView) -> CheckOut | None:
    check = view.check
    return None if check is None else CheckOut(at=rfc3339(check.at), well=check.well, text=check.text)


def _age(view: CredentialView | None, now: Millis) -> CredentialAgeOut | None:
    if view is None or view.changed_at is None:
        return None
    age_s = max(now - view.changed_at, 0) // 1_000
    return CredentialAgeOut(changed_at=rfc3339(view.changed_at), age_s=age_s, check=_check(view))


def _carrier(view: CarrierView, now: Millis) -> CarrierOut:
    rest = view.rest
    if rest is None:
        return CarrierOut(name=view.name, state="well", reason=None, since=None, until=None, left_s=None)
    return CarrierOut(
        name=view.name,
        state="resting",
        reason=rest.reason,
        since=rfc3339(rest.since),
        until=rfc3339(rest.until),
        left_s=_seconds(rest.until - now),
    )


class PauseIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Why; it is shown beside the path."""

    reason: Annotated[str, Meta(max_length=500)] = ""


class CredentialOut(Struct, kw_only=True):
    """Whether credentials are set, and what of them is no secret. They themselves are never shown.

    ``about`` of several SMS carriers: ``{"carriers": [...]}``. ``check``: the last look at them.
    """

    path: str
    set: bool
    changed_at: str | None
    age_s: int | None
    about: dict[str, Any]
    check: CheckOut | None
    etag: str | None  #: for If-Match, as in the header


class CredentialsOut(Struct):
    """One for each path that takes credentials."""

    credentials: list[CredentialOut]


def credential_out(view: CredentialView, now: Millis) -> CredentialOut:
    """As the API shows it."""
    age = _age(view, now)
    return CredentialOut(
        path=view.path,
        set=view.changed_at is not None,
        changed_at=_time(view.changed_at),
        age_s=None if age is None else age.age_s,
        about=dict(view.about),
        check=_check(view),
        etag=view.etag,
    )
