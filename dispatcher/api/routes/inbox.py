"""What phones pull and prove; what carriers report."""

import asyncio
from typing import Any

from litestar import get, post

from dispatcher.api.access import Backend, HttpRequest, Person, Phone, caller_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id, raw_answer
from dispatcher.api.bodies import decode, read_form, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.routes.apps import note
from dispatcher.api.schemas.inbox import (
    CountsOut,
    InboxOut,
    InboxParams,
    ReceiptIn,
    ReceiptsIn,
    for_operator,
    to_inbox_query,
    to_receipt,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.domain.clock import Millis
from dispatcher.domain.requests import CarrierCallback, Counts, InboxQuery, ReceiptItem
from dispatcher.errors import Kind, Problem
from dispatcher.ports.operations import Role

MAX_CALLBACK_BYTES = 64 * 1024
#: Headers by which carriers sign: Twilio's, and the Standard Webhooks scheme's.
_SIGNATURES = ("x-twilio-signature", "webhook-signature")
_CANCEL_TRIES, _CANCEL_AGAIN_S = 20, 0.1


def _whose(caller: Backend | Phone, user_id: str | None, field: str = "user_id") -> str:
    """The user asked for: the device token's own, or the one that a backend names."""
    if isinstance(caller, Phone):
        if user_id not in {None, caller.identity.user_id}:
            raise Problem(Kind.NOT_YOURS, "the device token is of another user")
        return caller.identity.user_id
    if user_id is None:
        raise Problem.invalid(field, "required with an API key")
    return user_id


async def _left(request: HttpRequest) -> None:
    """Returns once the caller hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _pull_waiting(
    request: HttpRequest, core: Core, app: str, user_id: str, device_id: str | None, query: InboxQuery, wait: Millis
) -> bytes | None:
    """A long-poll that ends when its caller leaves: None then. Draining ends it from inside."""
    pulling = asyncio.ensure_future(core.pull(app, user_id, device_id, query, wait))
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait({pulling, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return await pulling if pulling.done() else None
    finally:
        await _end(leaving)
        await _end(pulling)


async def _end(task: "asyncio.Future[Any]") -> None:
    """Cancels until it is over: libraries lose a cancellation that meets the end of what they wait for."""
    for _ in range(_CANCEL_TRIES):
        if task.done():
            break
        task.cancel()
        await asyncio.wait({task}, timeout=_CANCEL_AGAIN_S)
    if task.done() and not task.cancelled():
        task.exception()  # nobody is left to hear of it


@get(
    "/v1/inbox",
    opt=Contract(
        summary="Pull what waits for a user",
        tag="Inbox",
        scopes=scopes(Scope.READ),
        phones=True,
        query=InboxParams,
        answers={200: InboxOut},
    ).opt(),
)
async def inbox(request: HttpRequest) -> Answer:
    """Newest first; with ``after`` what came since, oldest first. ``wait`` is cut to 5 s here, 60 s on the gateway.

    An operator looks with ``user_id``, newest first, and sees what was said masked; with ``unmask`` an admin sees it
    whole, and the audit names them. No look of theirs proves anything.
    """
    core, caller = core_of(request), caller_of(request)
    params = read_query(request.scope["query_string"], InboxParams)
    query, wait = to_inbox_query(params)
    user_id = _whose(caller, params.user_id)
    if isinstance(caller, Person):
        return await _looked_at(core, caller, user_id, query, params)
    if params.unmask:
        raise Problem.invalid("unmask", "for operators only: phones and backends see everything")
    device_id = caller.identity.device_id if isinstance(caller, Phone) else None
    if not wait or core.draining.is_set():
        return raw_answer(await core.pull(caller.app, user_id, device_id, query, 0))
    page = await _pull_waiting(request, core, caller.app, user_id, device_id, query, wait)
    return no_content() if page is None else raw_answer(page)


async def _looked_at(core: Core, person: Person, user_id: str, query: InboxQuery, params: InboxParams) -> Answer:
    """An operator's look."""
    if params.after is not None or params.wait is not None:
        field = "after" if params.after is not None else "wait"
        raise Problem.invalid(field, "for phones and backends only: an operator turns pages with before")
    if params.unmask:
        if person.session.operator.role is not Role.ADMIN:
            raise Problem(Kind.MISSING_SCOPE, f"the role {person.session.operator.role} sees messages masked only")
        await note(core, person, "unmask.inbox", user_id)  # before anything is shown: no look without its entry
    page = await core.pull(person.app, user_id, None, query, 0)
    return answer(for_operator(page, masked=not params.unmask))


def _item(caller: Backend | Phone, receipt: ReceiptIn, field: str) -> ReceiptItem:
    user_id = _whose(caller, receipt.user_id, f"{field}.user_id")
    device_id = receipt.device_id
    if isinstance(caller, Phone):
        if device_id not in {None, caller.identity.device_id}:
            raise Problem(Kind.NOT_YOURS, "the device token is of another device")
        device_id = caller.identity.device_id
    return to_receipt(receipt, field, user_id, device_id)


@post(
    "/v1/receipts",
    status_code=200,
    opt=Contract(
        summary="Prove deliveries",
        tag="Inbox",
        scopes=scopes(Scope.DEVICES),
        operators=False,
        phones=True,
        body=ReceiptsIn,
        query=NoParams,
        answers={200: CountsOut},
    ).opt(),
)
async def receipts(request: HttpRequest) -> Answer:
    """Applied when answered; in any order, any number of times. Foreign ids count as unknown."""
    core, caller = core_of(request), caller_of(request)
    read_query(request.scope["query_string"], NoParams)
    sent = decode(await request.body(), ReceiptsIn).receipts
    items = [_item(caller, receipt, f"receipts[{index}]") for index, receipt in enumerate(sent)]
    counts = await core.receive(caller.app, items, core.clock()) if items else Counts()
    return answer(counts)


async def _callback(request: HttpRequest) -> CarrierCallback:
    """What a carrier posted. An unsigned one is 403 before anything is read into it."""
    headers = {name.lower(): value for name, value in request.headers.items()}
    if not any(headers.get(name) for name in _SIGNATURES):
        raise Problem(Kind.BAD_SIGNATURE, "the callback is not signed")
    body = await request.body()
    is_form = not headers.get("content-type", "").startswith("application/json")
    path, query = request.scope["raw_path"].partition(b"?")[0], request.scope["query_string"]
    return CarrierCallback(
        url_path=(path + b"?" + query if query else path).decode("ascii", "replace"),
        headers=headers,
        body=body,
        form=read_form(body) if is_form else {},
    )


def _signed_by_carrier(summary: str) -> dict[str, Any]:
    return Contract(
        summary=summary,
        tag="Inbox",
        signed="X-Twilio-Signature or webhook-signature",
        body=dict[str, str],
        media=("application/x-www-form-urlencoded", "application/json"),
        answers={204: None},
        problems=(403, 404, 413),
    ).opt()


@post(
    "/v1/callbacks/sms/{provider:str}/{attempt_id:str}",
    request_max_body_size=MAX_CALLBACK_BYTES,
    opt=_signed_by_carrier("A carrier's signed status"),
)
async def sms_callback(request: HttpRequest) -> Answer:
    """A bad signature is 403 and changes nothing."""
    callback = await _callback(request)
    provider, attempt_id = path_id(request, "provider"), path_id(request, "attempt_id")
    await core_of(request).sms_callback(provider, attempt_id, callback)
    return no_content()


@post(
    "/v1/callbacks/sms/{provider:str}/{app_id:str}/inbound",
    request_max_body_size=MAX_CALLBACK_BYTES,
    opt=_signed_by_carrier("A text from a phone, signed by the carrier"),
)
async def sms_inbound(request: HttpRequest) -> Answer:
    """STOP keeps the number from further texts of the app, START lifts that; other texts change nothing."""
    callback = await _callback(request)
    await core_of(request).sms_inbound(path_id(request, "provider"), path_id(request, "app_id"), callback)
    return no_content()


ROUTES = (inbox, receipts, sms_callback, sms_inbound)
