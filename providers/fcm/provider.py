"""The fcm path."""

import asyncio
from collections.abc import Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import Outcome, Rejected, RetryLater
from providers.base import Attempt, Limits
from providers.fcm.access import AccessTokens, NoAccess
from providers.fcm.answers import Verdict, read
from providers.fcm.messages import build, encode
from providers.http2 import Request, Transport, TransportFault

HOST = "https://fcm.googleapis.com"


class FcmProvider:
    """Sends as one service account; owns *transport* and *access*.

    Resends only what Google refused for our access token's sake, once. A call lasts a deadline, the wait for an access
    token included, and at most two seconds more.
    """

    def __init__(
        self,
        *,
        transport: Transport,
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
        outcomes: list[Outcome] = [Rejected("no_token")] * len(attempts)
        places = [place for place, attempt in enumerate(attempts) if attempt.token is not None]
        bodies = {place: encode(build(attempts[place], now)) for place in places}
        ends_at = asyncio.get_running_loop().time() + self.limits.deadline_ms / SECOND
        refused = await self._send(places, bodies, outcomes, now, ends_at)
        if refused:
            await self._send(refused, bodies, outcomes, now, ends_at)
        return outcomes

    async def _send(
        self, places: Sequence[int], bodies: dict[int, bytes], outcomes: list[Outcome], now: Millis, ends_at: float
    ) -> list[int]:
        """Fills *outcomes*; answers the places where our access token was refused."""
        time = asyncio.get_running_loop().time
        try:
            async with asyncio.timeout(max(ends_at - time(), 1.0)):
                bearer = await self._access.bearer(now)
        except TimeoutError:
            for place in places:
                outcomes[place] = RetryLater("oauth_unavailable")
            return []
        except NoAccess as lack:
            for place in places:
                outcomes[place] = lack.outcome
            return []
        headers = [("authorization", bearer), ("content-type", "application/json")]
        requests = [Request("POST", self._url, headers, bodies[place]) for place in places]
        answers = await self._transport.exchange(requests, max(int((ends_at - time()) * SECOND), SECOND))
        refused: list[int] = []
        for place, answer in zip(places, answers, strict=True):
            if isinstance(answer, TransportFault):
                outcomes[place] = answer.outcome
                continue
            outcomes[place], verdict = read(answer)
            if verdict is Verdict.ACCESS:
                refused.append(place)
        if refused:
            self._access.forget(bearer)
        return refused

    async def close(self) -> None:
        """Ends connections, those for access tokens included."""
        await self._access.close()
        await self._transport.close()
