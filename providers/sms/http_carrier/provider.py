"""The sms path through a generic HTTP carrier.

``POST {endpoint}`` with ``{"id", "from", "to", "text", "ttl_s", "callback"}``, a bearer token and ``Idempotency-Key``
(the attempt id: the carrier sends one text for it, however often it is asked); any 2xx is a yes and may carry
``{"id"}``. A refusal carries ``{"code"}``: ``invalid_number``, ``opted_out`` or any other word. ``GET
{endpoint}/{attempt_id}`` says what became of it, 404 where it never came. Status callbacks: see ``callbacks``.
"""

from collections.abc import Sequence
from urllib.parse import quote

import msgspec

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, Unknown
from providers.base import Attempt, Limits
from providers.http2 import Reply, Request, Transport, TransportFault
from providers.sms.status import NumberVerdict
from providers.text import mend

#: What a refusal's code says about the number.
NUMBER_CODES = {"invalid_number": NumberVerdict.BAD_NUMBER, "opted_out": NumberVerdict.SUPPRESS}
FAILED = frozenset({"failed", "undelivered", "canceled"})


class _Answer(msgspec.Struct):
    id: str | None = None
    code: str | None = None
    status: str | None = None


_decode = msgspec.json.Decoder(_Answer).decode


def _read(body: bytes) -> _Answer:
    try:
        return _decode(body)
    except msgspec.MsgspecError:
        return _Answer()


def callback_url(public_url: str, attempt_id: str) -> str:
    """Where the carrier reports about *attempt_id*."""
    return f"{public_url.rstrip('/')}/v1/callbacks/sms/http/{quote(attempt_id, safe='')}"


def outcome_of(reply: Reply) -> Outcome:
    """What an answer to a send means. The reason is ``http_<code or status>``."""
    answer = _read(reply.body)
    name = f"http_{(answer.code or str(reply.status))[:40]}"
    if 200 <= reply.status < 300:
        return HandedOver(answer.id)
    if reply.status == 429:
        return RetryLater(name, reply.retry_after_ms, brake=True)
    if reply.status == 503:
        return RetryLater(name, reply.retry_after_ms)
    if reply.status >= 500:
        return Unknown(name)
    return Rejected(name, configuration=reply.status in {401, 403, 404})


class HttpCarrierProvider:
    """Sends each attempt once; an unknown one is looked up by its id."""

    def __init__(
        self,
        *,
        transport: Transport,
        endpoint: str,
        token: str,
        sender: str,
        public_url: str,
        limits: Limits = Limits(batch=50, payload_bytes=6_400, concurrent=50, deadline_ms=15_000),  # noqa: B008
    ) -> None:
        self.limits = limits
        self._transport = transport
        self._endpoint = endpoint.rstrip("/")
        self._authorization = ("authorization", f"Bearer {token}")
        self._sender = sender
        self._public_url = public_url

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        outcomes: list[Outcome] = [Rejected("no_number")] * len(attempts)
        places = [place for place, attempt in enumerate(attempts) if attempt.phone and attempt.text]
        requests = [self._request(attempts[place], now) for place in places]
        answers = await self._transport.exchange(requests, self.limits.deadline_ms)
        for place, answer in zip(places, answers, strict=True):
            outcomes[place] = answer.outcome if isinstance(answer, TransportFault) else outcome_of(answer)
        return outcomes

    def _request(self, attempt: Attempt, now: Millis) -> Request:
        body = {
            "id": attempt.attempt_id,
            "from": self._sender,
            "to": attempt.phone,
            "text": mend(attempt.text or ""),
            "ttl_s": max(1, (attempt.expires_at - now) // SECOND),
            "callback": callback_url(self._public_url, attempt.attempt_id),
        }
        headers = [
            self._authorization,
            ("content-type", "application/json"),
            ("idempotency-key", attempt.attempt_id),
        ]
        return Request("POST", self._endpoint, headers, msgspec.json.encode(body))

    async def look_up(self, attempt: Attempt) -> Outcome | None:
        """What became of an unknown *attempt*; None where the carrier never had it, Unknown where it does not say."""
        url = f"{self._endpoint}/{quote(attempt.attempt_id, safe='')}"
        request = Request("GET", url, [self._authorization])
        (answer,) = await self._transport.exchange([request], self.limits.deadline_ms)
        if isinstance(answer, TransportFault):
            return Unknown(f"look_up_{answer.cause}")
        if answer.status == 404:
            return None
        if answer.status != 200:
            return Unknown("look_up_refused")
        found = _read(answer.body)
        if found.status in FAILED:
            return Rejected(f"http_{(found.code or found.status or '')[:40]}")
        return HandedOver(found.id)

    async def close(self) -> None:
        """Ends connections."""
        await self._transport.close()
