"""The fcm path."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import Outcome, Rejected, RetryLater
from providers.base import Attempt, Limits, Part, whole
from providers.fcm.access import AccessTokens, NoAccess
from providers.fcm.answers import Verdict, read
from providers.fcm.messages import build, encode
from providers.http2 import Batch, BeginsBatches, Reply, Request, TransportFault

HOST = "https://fcm.googleapis.com"


class FcmProvider:
    """Sends as one service account; owns *transport* and *access*.

    Resends only what Google refused for our access token's sake, once. A call lasts a deadline, the wait for an access
    token included, and at most two seconds more.
    """

    def __init__(
        self,
        *,
        transport: BeginsBatches,
        access: AccessTokens,
        project_id: str,
        host: str = HOST,
        limits: Limits = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=10_000),  # noqa: B008
    ) -> None:
        self.limits = limits
        self._transport = transport
        self._access = access
        self._url = f"{host}/v1/projects/{project_id}/messages:send"

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        return await whole(self.send_in_parts(attempts, now, None))

    async def send_in_parts(
        self, attempts: Sequence[Attempt], now: Millis, patience_s: float | None
    ) -> AsyncGenerator[Part, None]:
        """See :class:`~providers.base.AnswersInParts`; the wait for an access token is no part's."""
        time = asyncio.get_running_loop().time
        ends_at = time() + self.limits.deadline_ms / SECOND
        bodies: dict[int, bytes] = {}
        told: list[tuple[int, Outcome]] = []
        for place, attempt in enumerate(attempts):
            if attempt.token is None:
                told.append((place, Rejected("no_token")))
            else:
                bodies[place] = encode(build(attempt, now))
        del attempts  # what waits for a silent phone keeps nothing of the others
        may_resend = True
        while bodies:
            bearer = await self._bearer(now, max(ends_at - time(), 1.0))
            if not isinstance(bearer, str):
                told += [(place, bearer) for place in bodies]
                break
            batch, places = self._begin(bodies, bearer, max(int((ends_at - time()) * SECOND), SECOND)), list(bodies)
            refused: dict[int, bytes] = {}
            try:
                while bodies:
                    await asyncio.wait([batch.done], timeout=patience_s)
                    for index, answer in batch.take():
                        place = places[index]
                        body = bodies.pop(place)
                        outcome, verdict = _judge(answer)
                        if verdict is Verdict.ACCESS:
                            self._access.forget(bearer)
                        if verdict is Verdict.ACCESS and may_resend:
                            refused[place] = body
                        else:
                            told.append((place, outcome))
                    if bodies:
                        yield told
                        told = []
            finally:
                batch.abandon()
            bodies, may_resend = refused, False
        if told:
            yield told

    async def _bearer(self, now: Millis, within_s: float) -> str | Outcome:
        """The access token, or what its lack means for every attempt."""
        try:
            async with asyncio.timeout(within_s):
                return await self._access.bearer(now)
        except TimeoutError:
            return RetryLater("oauth_unavailable")
        except NoAccess as lack:
            return lack.outcome

    def _begin(self, bodies: Mapping[int, bytes], bearer: str, deadline_ms: Millis) -> Batch:
        headers = [("authorization", bearer), ("content-type", "application/json")]
        return self._transport.begin(
            [Request("POST", self._url, headers, body) for body in bodies.values()], deadline_ms
        )

    async def close(self) -> None:
        """Ends connections, those for access tokens included."""
        await self._access.close()
        await self._transport.close()


def _judge(answer: Reply | TransportFault) -> tuple[Outcome, Verdict | None]:
    return (answer.outcome, None) if isinstance(answer, TransportFault) else read(answer)
