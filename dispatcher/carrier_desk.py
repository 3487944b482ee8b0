"""Carriers' signed callbacks: checked against the public URL, ranked, then applied as evidence."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.ids import AttemptRef, parse_attempt_id
from dispatcher.domain.journal import receipt_entry, write_entry
from dispatcher.domain.paths import Path
from dispatcher.domain.requests import CarrierCallback
from dispatcher.errors import Kind, Problem
from dispatcher.pipeline.receive import Receiver
from providers.credentials import (
    BadCredentials,
    CarrierCredentials,
    HttpCarrierCredentials,
    SmsCredentials,
    carriers_of,
    read_credentials,
)
from providers.sms.http_carrier.callbacks import parse_http_callback, parse_http_inbound
from providers.sms.status import BadSignature, CarrierStatus
from providers.sms.twilio.callbacks import parse_callback, parse_inbound

Found = TypeVar("Found")

#: By the name in the callback's address.
_CARRIERS: Mapping[str, type[CarrierCredentials]] = {"twilio": SmsCredentials, "http": HttpCarrierCredentials}


async def take_callback(
    stores: Stores, receiver: Receiver, provider: str, attempt_id: str, callback: CarrierCallback
) -> None:
    """Raises Problem NOT_FOUND, BAD_SIGNATURE or MALFORMED; then nothing was changed."""
    attempt = parse_attempt_id(attempt_id)
    found = await _whose(stores, attempt) if attempt is not None and provider in _CARRIERS else None
    if attempt is None or found is None:
        raise Problem(Kind.NOT_FOUND, "no such attempt")
    app, user_id = found
    if stores.ids.read_attempt(attempt_id, app, user_id) is None:
        raise Problem(Kind.NOT_FOUND, "no such attempt")

    def read(credentials: CarrierCredentials) -> CarrierStatus:
        if isinstance(credentials, SmsCredentials):
            return parse_callback(*_signed(stores, callback), credentials.auth_token)
        return parse_http_callback(callback.body, callback.headers, credentials.secret, stores.clock())

    status = await _read(stores, app, provider, read)
    await _apply(stores, receiver, app, user_id, attempt, attempt_id, status)


async def take_inbound(stores: Stores, provider: str, app: str, callback: CarrierCallback) -> None:
    """A text from a phone: STOP keeps its number from further ones, START lifts that. Raises as above."""

    def read(credentials: CarrierCredentials) -> tuple[str, bool | None]:
        if isinstance(credentials, SmsCredentials):
            return parse_inbound(*_signed(stores, callback), credentials.auth_token)
        return parse_http_inbound(callback.body, callback.headers, credentials.secret, stores.clock())

    sender, opted_out = await _read(stores, app, provider, read)
    number, guard = stores.sealer.number_hash(sender), stores.parts.sms_guard
    if opted_out is True:
        await guard.suppress_number(app, number, "opted_out", stores.clock())
    elif opted_out is False:
        await guard.lift_suppression(app, number)


def _signed(stores: Stores, callback: CarrierCallback) -> tuple[str, Mapping[str, str], str]:
    """Public address, form and signature of a Twilio request, rebuilt from configuration behind a proxy."""
    url = stores.settings.public_url.rstrip("/") + callback.url_path
    return url, callback.form, callback.headers.get("x-twilio-signature", "")


async def _read(stores: Stores, app: str, provider: str, read: Callable[[CarrierCredentials], Found]) -> Found:
    """What a callback says under whichever of the app's credentials for that carrier signed it."""
    kind = _CARRIERS.get(provider)
    own = [one for one in await _credentials(stores, app) if kind is not None and isinstance(one, kind)]
    if not own:
        raise Problem(Kind.NOT_FOUND, "no such carrier for this app")
    for credentials in own:
        try:
            return read(credentials)
        except BadSignature:
            continue
        except ValueError as fault:
            raise Problem.malformed(f"the callback cannot be read: {fault}") from None
    raise Problem(Kind.BAD_SIGNATURE, "the callback is not signed by the carrier")


async def _apply(
    stores: Stores,
    receiver: Receiver,
    app: str,
    user_id: str,
    attempt: AttemptRef,
    attempt_id: str,
    status: CarrierStatus,
) -> None:
    now = stores.clock()
    guard = stores.parts.sms_guard
    moved = await guard.status(
        app, attempt_id, status.status, status.rank, error=status.error, segments=status.segments, now=now
    )
    if status.number is not None:
        await guard.suppress_attempt(app, attempt_id, f"{status.number}_{status.error or status.status}", now)
    if not moved:
        return
    await _tell(stores, receiver, app, user_id, attempt, attempt_id, status, now)
    for sharer in await guard.sharers(app, attempt_id):
        joined = parse_attempt_id(sharer.attempt_id)
        if joined is not None:
            await _tell(stores, receiver, app, sharer.user_id, joined, sharer.attempt_id, status, now)


async def _tell(
    stores: Stores,
    receiver: Receiver,
    app: str,
    user_id: str,
    attempt: AttemptRef,
    attempt_id: str,
    status: CarrierStatus,
    now: Millis,
) -> None:
    """One delivery hears of the status: that of the SMS itself, or of one that joined it."""
    failed = status.terminal and not status.proof
    applied = await receiver.carrier_status(
        attempt_id, status.status, proof=status.proof, failed=failed, now=now, error=status.error
    )
    if status.proof and (applied is None or not applied.known or applied.archived):
        _, new, confirmed = await stores.deliveries.late_proof(
            attempt.delivery, Proof.DELIVERED, Path.SMS, now, app=app, user_id=user_id
        )
        if new and (applied is None or not applied.known):  # else the receiver wrote it down
            row = (attempt.delivery.place, attempt.track, Proof.DELIVERED, Path.SMS, False, confirmed)
            entry = write_entry(receipt_entry(now, [row], source=f"carrier:{status.status}"))
            await stores.parts.homes.append_journal([(attempt.delivery.home, entry)])


async def _whose(stores: Stores, attempt: AttemptRef) -> tuple[str, str] | None:
    """App and user of an attempt, from the hot store or the ledger."""
    ref = attempt.delivery
    contents = await stores.parts.homes.contents(ref.home, [ref.place])
    if contents is not None and ref.place in contents.recipients:
        return contents.app, contents.recipients[ref.place].user_id
    rows = await stores.deliveries.of_message(ref.home, ref.place, 1)
    return (rows[0].app, rows[0].user_id) if rows else None


async def _credentials(stores: Stores, app: str) -> tuple[CarrierCredentials, ...]:
    sealed = await stores.apps.credentials(app, Path.SMS)
    if sealed is None:
        return ()
    try:
        return carriers_of(read_credentials(Path.SMS, stores.sealer.open(sealed)))
    except (BadCredentials, msgspec.MsgspecError):
        return ()
