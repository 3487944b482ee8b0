"""The apns path."""

import asyncio
from collections.abc import Mapping, Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import Outcome, Rejected
from providers.apns.answers import Verdict, read
from providers.apns.requests import Unsendable, build_request
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
        outcomes: list[Outcome] = [Rejected("no_token")] * len(attempts)
        by_environment: dict[str, list[int]] = {}
        for place, attempt in enumerate(attempts):
            if attempt.token is not None:
                by_environment.setdefault(attempt.token.environment or PRODUCTION, []).append(place)
        known = {name: places for name, places in by_environment.items() if name in self._transports}
        for name in by_environment.keys() - known.keys():
            for place in by_environment[name]:
                outcomes[place] = Rejected("unknown_environment")
        await asyncio.gather(*(self._send_all(name, attempts, places, outcomes, now) for name, places in known.items()))
        return outcomes

    async def _send_all(
        self,
        environment: str,
        attempts: Sequence[Attempt],
        places: Sequence[int],
        outcomes: list[Outcome],
        now: Millis,
    ) -> None:
        """One environment's attempts, and once more those that our aged provider token cost."""
        time = asyncio.get_running_loop().time
        begun = time()
        bearer = self._signer.bearer(now) if self._signer else None
        aged = await self._send(environment, attempts, places, bearer, outcomes, self.limits.deadline_ms)
        if aged and self._signer:
            left = max(self.limits.deadline_ms - int((time() - begun) * SECOND), SECOND)
            await self._send(environment, attempts, aged, self._signer.renewed_bearer(now), outcomes, left)

    async def _send(
        self,
        environment: str,
        attempts: Sequence[Attempt],
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
            try:
                request, apns_id = build_request(attempts[place], host, self._topic, bearer)
            except Unsendable as fault:
                outcomes[place] = Rejected(str(fault))
                continue
            requests.append(request)
            sent.append((place, apns_id))
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
