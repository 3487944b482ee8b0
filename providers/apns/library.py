"""aioapns as its users know it, on our wire: our pool stands in for its ``pool`` attribute.

Results, request types, ``err_func`` and log lines are aioapns' own. A transport's fault becomes a result of status
``"0"`` whose description says whether the push may have been taken.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import aioapns
import msgspec
from aioapns.common import NotificationRequest, NotificationResult, PushType

from dispatcher.domain.clock import SECOND, Millis
from providers.apns.answers import words_of
from providers.apns.provider import HOSTS, PRODUCTION, SANDBOX
from providers.apns.signer import Signer
from providers.http2 import Http2Transport, Identity, Reply, Request, Transport, TransportFault, client_context

__all__ = ["APNs", "NotificationRequest", "NotificationResult", "Pool", "PushType"]

FAULT = "0"  #: status of a result without an answer


class Pool:
    """What ``aioapns.APNs`` asks of its pool."""

    def __init__(
        self, transport: Transport, *, host: str, topic: str, signer: Signer | None, deadline_ms: Millis = 10_000
    ) -> None:
        self.apns_topic = topic
        self._transport = transport
        self._host = host
        self._signer = signer
        self._deadline_ms = deadline_ms

    async def send_notification(self, request: NotificationRequest) -> NotificationResult:
        """One push, one result; never raises for what the network or Apple does."""
        (result,) = await self.send_notifications([request])
        return result

    async def send_notifications(self, requests: list[NotificationRequest]) -> list[NotificationResult]:
        """Many at once, in order; cheaper than one by one."""
        now = time.time_ns() // 1_000_000
        bearer = self._signer.bearer(now) if self._signer else None
        answers = await self._transport.exchange([self._wire(one, bearer, now) for one in requests], self._deadline_ms)
        return [_result(one, answer) for one, answer in zip(requests, answers, strict=True)]

    def _wire(self, request: NotificationRequest, bearer: str | None, now: Millis) -> Request:
        headers = [("apns-id", request.notification_id), ("apns-topic", request.apns_topic or self.apns_topic)]
        if bearer is not None:
            headers.append(("authorization", bearer))
        if request.time_to_live is not None:
            headers.append(("apns-expiration", str(now // SECOND + request.time_to_live)))
        if request.priority is not None:
            headers.append(("apns-priority", str(request.priority)))
        if request.collapse_key is not None:
            headers.append(("apns-collapse-id", request.collapse_key))
        if request.push_type is not None:
            headers.append(("apns-push-type", request.push_type.value))
        body = msgspec.json.encode(request.message)
        return Request("POST", f"{self._host}/3/device/{request.device_token}", headers, body)

    async def close(self) -> None:
        """Ends connections."""
        await self._transport.close()


def _result(request: NotificationRequest, answer: Reply | TransportFault) -> NotificationResult:
    if isinstance(answer, TransportFault):
        return NotificationResult(request.notification_id, FAULT, f"{answer.kind}: {answer}")
    if answer.status == 200:
        return NotificationResult(request.notification_id, "200")
    reason, timestamp = words_of(answer)
    return NotificationResult(request.notification_id, str(answer.status), reason, timestamp)


class APNs(aioapns.APNs):
    """``aioapns.APNs`` with the same arguments where they mean something here. Made inside a running loop.

    *key* and *client_cert* are PEM texts (the certificate with its key). *host* and *ca_file* reach another end than
    Apple's. Raises ValueError where neither key nor certificate is complete.
    """

    def __init__(
        self,
        client_cert: str | None = None,
        key: str | None = None,
        key_id: str | None = None,
        team_id: str | None = None,
        topic: str | None = None,
        max_connections: int = 2,
        use_sandbox: bool = False,
        err_func: Callable[[NotificationRequest, NotificationResult], Awaitable[None]] | None = None,
        *,
        host: str | None = None,
        ca_file: str | None = None,
    ) -> None:
        if client_cert is not None and key is not None:
            raise ValueError("cannot specify both client_cert and key")
        if not topic or not (client_cert or (key and key_id and team_id)):
            raise ValueError("You must provide either APNs cert or the key credentials, and a topic")
        signer = Signer(key, key_id, team_id) if key and key_id and team_id else None
        identity = Identity(certificate=client_cert.encode(), key=b"") if client_cert else None
        where = (host or HOSTS[SANDBOX if use_sandbox else PRODUCTION]).rstrip("/")
        transport = Http2Transport(
            where,
            context=client_context(ca_file, identity),
            connections=max_connections,
            most_connections=max_connections,
        )
        self.err_func = err_func
        self.pool: Any = Pool(transport, host=where, topic=topic, signer=signer)
