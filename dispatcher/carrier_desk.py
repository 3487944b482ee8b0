"""Carriers' signed callbacks: checked against the public URL, ranked, then applied as evidence."""

from collections.abc import Mapping

import msgspec

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.ids import AttemptRef, parse_attempt_id
from dispatcher.domain.paths import Path
from dispatcher.errors import Kind, Problem
from dispatcher.pipeline.receive import Receiver
from providers.credentials import BadCredentials, SmsCredentials, read_credentials
from providers.sms.status import BadSignature, CarrierStatus, NumberVerdict
from providers.sms.twilio.callbacks import parse_callback

_CARRIERS = frozenset({"twilio"})


async def take_callback(
    stores: Stores,
    receiver: Receiver,
    provider: str,
    attempt_id: str,
    url: str,
    params: Mapping[str, str],
    signature: str,
) -> None:
    """Raises Problem NOT_FOUND or BAD_SIGNATURE; then nothing was changed."""
    attempt = parse_attempt_id(attempt_id)
    found = await _whose(stores, attempt) if attempt is not None and provider in _CARRIERS else None
    if attempt is None or found is None:
        raise Problem(Kind.NOT_FOUND, "no such attempt")
    app, user_id = found
    if stores.ids.read_attempt(attempt_id, app, user_id) is None:
        raise Problem(Kind.NOT_FOUND, "no such attempt")
    credentials = await _credentials(stores, app)
    if credentials is None:
        raise Problem(Kind.NOT_FOUND, "no such carrier for this app")
    try:
        status = parse_callback(url, params, signature, credentials.auth_token)
    except BadSignature:
        raise Problem(Kind.BAD_SIGNATURE, "the callback is not signed by the carrier") from None
    await _apply(stores, receiver, app, user_id, attempt, attempt_id, status, params)


async def _apply(
    stores: Stores,
    receiver: Receiver,
    app: str,
    user_id: str,
    attempt: AttemptRef,
    attempt_id: str,
    status: CarrierStatus,
    params: Mapping[str, str],
) -> None:
    now = stores.clock()
    guard = stores.parts.sms_guard
    moved = await guard.status(
        app, attempt_id, status.status, status.rank, error=status.error, segments=status.segments, now=now
    )
    if status.number is NumberVerdict.SUPPRESS and params.get("To"):
        await guard.suppress_number(app, stores.sealer.number_hash(params["To"]), status.status, now)
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
    applied = await receiver.carrier_status(
        attempt_id, status.status, proof=status.proof, failed=status.terminal and not status.proof, now=now
    )
    if status.proof and (applied is None or not applied.known or applied.archived):
        await stores.deliveries.late_proof(attempt.delivery, Proof.DELIVERED, Path.SMS, now, app=app, user_id=user_id)


async def _whose(stores: Stores, attempt: AttemptRef) -> tuple[str, str] | None:
    """App and user of an attempt, from the hot store or the ledger."""
    ref = attempt.delivery
    contents = await stores.parts.homes.contents(ref.home, [ref.place])
    if contents is not None and ref.place in contents.recipients:
        return contents.app, contents.recipients[ref.place].user_id
    rows = await stores.deliveries.of_message(ref.home, ref.place, 1)
    return (rows[0].app, rows[0].user_id) if rows else None


async def _credentials(stores: Stores, app: str) -> SmsCredentials | None:
    sealed = await stores.apps.credentials(app, Path.SMS)
    if sealed is None:
        return None
    try:
        found = read_credentials(Path.SMS, stores.sealer.open(sealed))
    except (BadCredentials, msgspec.MsgspecError):
        return None
    return found if isinstance(found, SmsCredentials) else None
