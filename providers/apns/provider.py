"""The apns path."""

import asyncio
from collections.abc import Mapping, Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import Outcome, Rejected
from providers.apns.answers import Verdict, read
from providers.apns.requests import Push, Unsendable, build_request, push_of
from providers.apns.signer import Signer
from providers.base import Attempt, Limits
from providers.http2 import Reply, Request, Transport, TransportFault

PRODUCTION = "production"
SANDBOX = "sandbox"
HOSTS: Mapping[str, str] = {
    PRODUCTION: "https://api.push.apple.com",
    SANDBOX: "https://api.sandbox.push.apple.com",
}

_Place = tuple[int, str]  #: an attempt's place and its apns-id


class ApnsProvider:
    """Sends to both environments, each on its own transport: a token says which one it belongs to.

    *signer* None: the transports carry a client certificate. Resends only what Apple certainly did not take because
    our provider token had aged, once. A call lasts a deadline, and at most a second more for such a resend.
    """

    def __init__(
        self,
        *,
        transports: Mapping[str, Transport],
        topic: str,
        signer: Signer | None,
        hosts: Mapping[str, str] = HOSTS,
        limits: Limits = Limits(batch=500, payload_bytes=4096, concurrent=1_000, deadline_ms=10_000),  # noqa: B008
    ) -> None:
        self.limits = limits
        self._transports = transports
        self._topic = topic
        self._signer = signer
        self._hosts = hosts

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        return await self.push([push_of(attempt) if attempt.token is not None else None for attempt in attempts], now)

    async def push(self, pushes: Sequence[Push | None], now: Millis) -> list[Outcome]:
        """Pushes of any type, for callers that build them by hand: one outcome each, in order. None: has no token."""
        outcomes: list[Outcome] = [Rejected("no_token")] * len(pushes)
        by_environment: dict[str, list[int]] = {}
        for place, push in enumerate(pushes):
            if push is not None:
                by_environment.setdefault(push.token.environment or PRODUCTION, []).append(place)
        known = {name: places for name, places in by_environment.items() if name in self._transports}
        for name in by_environment.keys() - known.keys():
            for place in by_environment[name]:
                outcomes[place] = Rejected("unknown_environment")
        await asyncio.gather(*(self._send_all(name, pushes, places, outcomes, now) for name, places in known.items()))
        return outcomes

    async def _send_all(
        self,
        environment: str,
        pushes: Sequence[Push | None],
        places: Sequence[int],
        outcomes: list[Outcome],
        now: Millis,
    ) -> None:
        """One environment's pushes, and once more those that our aged provider token cost."""
        time = asyncio.get_running_loop().time
        begun = time()
        bearer = self._signer.bearer(now) if self._signer else None
        aged = await self._send(environment, pushes, places, bearer, outcomes, self.limits.deadline_ms)
        if aged and self._signer:
            left = max(self.limits.deadline_ms - int((time() - begun) * SECOND), SECOND)
            await self._send(environment, pushes, aged, self._signer.renewed_bearer(now), outcomes, left)

    async def _send(
        self,
        environment: str,
        pushes: Sequence[Push | None],
        places: Sequence[int],
        bearer: str | None,
        outcomes: list[Outcome],
        deadline_ms: Millis,
    ) -> list[int]:
        """Fills *outcomes*; answers the places whose provider token Apple called too old."""
        host = self._hosts[environment]
        requests: list[Request] = []
        sent: list[_Place] = []
        for place in places:
            push = pushes[place]
            if push is None:
                continue
            try:
                request = build_request(push, host, self._topic, bearer)
            except Unsendable as fault:
                outcomes[place] = Rejected(str(fault))
                continue
            requests.append(request)
            sent.append((place, push.push_id))
        transport = self._transports[environment]
        answers = await transport.exchange(requests, deadline_ms)
        aged: list[int] = []
        leave = False
        for (place, apns_id), answer in zip(sent, answers, strict=True):
            outcomes[place], verdict = _judge(answer, apns_id)
            if verdict is Verdict.AGED:
                aged.append(place)
            leave = leave or verdict is Verdict.OTHER_CONNECTION
        if leave:
            await transport.renew()
        return aged

    async def close(self) -> None:
        """Ends both environments' connections."""
        for transport in self._transports.values():
            await transport.close()


def _judge(answer: Reply | TransportFault, apns_id: str) -> tuple[Outcome, Verdict | None]:
    if isinstance(answer, TransportFault):
        return answer.outcome, None
    return read(answer, apns_id)
