"""firebase-admin's messages in, its responses and error classes out, on our wire."""

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from firebase_admin import exceptions, messaging

from dispatcher.domain.clock import Millis
from providers.fcm.access import AccessTokens, NoAccess
from providers.fcm.answers import code_of
from providers.fcm.provider import HOST
from providers.http2 import Reply, Request, Transport, TransportFault

#: firebase-admin's class for each of FCM's own codes, then for each status.
BY_CODE: dict[str, type[exceptions.FirebaseError]] = {
    "APNS_AUTH_ERROR": messaging.ThirdPartyAuthError,
    "QUOTA_EXCEEDED": messaging.QuotaExceededError,
    "SENDER_ID_MISMATCH": messaging.SenderIdMismatchError,
    "THIRD_PARTY_AUTH_ERROR": messaging.ThirdPartyAuthError,
    "UNREGISTERED": messaging.UnregisteredError,
}
BY_STATUS: dict[int, type[exceptions.FirebaseError]] = {
    400: exceptions.InvalidArgumentError,
    401: exceptions.UnauthenticatedError,
    403: exceptions.PermissionDeniedError,
    404: exceptions.NotFoundError,
    409: exceptions.ConflictError,
    429: exceptions.ResourceExhaustedError,
    500: exceptions.InternalError,
    503: exceptions.UnavailableError,
}


class FcmClient:
    """``messaging.send_each`` without a thread a message: any number at once, nothing retried, nobody blocked."""

    def __init__(
        self,
        *,
        transport: Transport,
        access: AccessTokens,
        project_id: str,
        host: str = HOST,
        deadline_ms: Millis = 10_000,
    ) -> None:
        self._transport = transport
        self._access = access
        self._url = f"{host}/v1/projects/{project_id}/messages:send"
        self._deadline_ms = deadline_ms

    async def send_each(self, messages: Sequence[messaging.Message], *, dry_run: bool = False) -> Any:
        """A ``messaging.BatchResponse`` in order; ValueError for a message that firebase-admin refuses."""
        bodies = [_encode(message, dry_run=dry_run) for message in messages]
        try:
            bearer = await self._access.bearer(time.time_ns() // 1_000_000)
        except NoAccess as lack:
            fault = exceptions.UnauthenticatedError(lack.outcome.reason)
            return messaging.BatchResponse([messaging.SendResponse(None, fault) for _ in bodies])
        headers = [("authorization", bearer), ("content-type", "application/json")]
        requests = [Request("POST", self._url, headers, body) for body in bodies]
        answers = await self._transport.exchange(requests, self._deadline_ms)
        return messaging.BatchResponse([_response(answer) for answer in answers])

    async def close(self) -> None:
        """Ends connections."""
        await self._access.close()
        await self._transport.close()


def _encode(message: messaging.Message, *, dry_run: bool) -> bytes:
    text = str(message).encode()  # checked by firebase-admin: exactly the v1 JSON
    return b'{"message":' + text + (b',"validate_only":true}' if dry_run else b"}")


def _response(answer: Reply | TransportFault) -> Any:
    if isinstance(answer, TransportFault):
        kind = exceptions.UnavailableError if answer.outcome.reason != "transport_deadline" else None
        return messaging.SendResponse(None, (kind or exceptions.DeadlineExceededError)(str(answer)))
    if answer.status == 200:
        try:
            return messaging.SendResponse(msgspec.json.decode(answer.body), None)
        except msgspec.MsgspecError:
            return messaging.SendResponse({"name": ""}, None)
    code = code_of(answer)
    kind = BY_CODE.get(code) or BY_STATUS.get(answer.status)
    text = f"FCM answered {answer.status} {code}".rstrip()
    fault = kind(text) if kind else exceptions.UnknownError(text)
    return messaging.SendResponse(None, fault)
