"""The apns path."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import Outcome, Rejected
from providers.apns.answers import Verdict, read
from providers.apns.requests import Push, Unsendable, build_request, push_of
from providers.apns.signer import Signer
from providers.base import Attempt, Limits, Part, whole
from providers.http2 import Batch, BeginsBatches, Reply, Request, TransportFault

PRODUCTION = "production"
SANDBOX = "sandbox"
HOSTS: Mapping[str, str] = {
    PRODUCTION: "https://api.push.apple.com",
    SANDBOX: "https://api.sandbox.push.apple.com",
}


class _Flight:
    """Pushes to one environment that are under way. *last*: an aged provider token is not renewed once more."""

    __slots__ = ("batch", "environment", "last", "pushes")

    def __init__(self, environment: str, batch: Batch, pushes: dict[int, tuple[int, Push]], *, last: bool) -> None:
        self.environment = environment
        self.batch = batch
        self.pushes = pushes  #: by place in the batch: the place in the call, and the push; until it is answered
        self.last = last


class ApnsProvider:
    """Sends to both environments, each on its own transport: a token says which one it belongs to.

    *signer* None: the transports carry a client certificate. Resends only what Apple certainly did not take because
    our provider token had aged, once. A call lasts a deadline, and at most a second more for such a resend.
    """

    def __init__(
        self,
        *,
        transports: Mapping[str, BeginsBatches],
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
        return await whole(self.send_in_parts(attempts, now, None))

    def send_in_parts(
        self, attempts: Sequence[Attempt], now: Millis, patience_s: float | None
    ) -> AsyncGenerator[Part, None]:
        """See :class:`~providers.base.AnswersInParts`."""
        pushes = [push_of(attempt) if attempt.token is not None else None for attempt in attempts]
        return self._push(pushes, now, patience_s)

    async def push(self, pushes: Sequence[Push | None], now: Millis) -> list[Outcome]:
        """Pushes of any type, for callers that build them by hand: one outcome each, in order. None: has no token."""
        return await whole(self._push(pushes, now, None))

    async def _push(
        self, pushes: Sequence[Push | None], now: Millis, patience_s: float | None
    ) -> AsyncGenerator[Part, None]:
        """Each environment on its own; once more, as soon as that is known, those that our aged token cost."""
        time = asyncio.get_running_loop().time
        ends_at = time() + self.limits.deadline_ms / SECOND
        told: list[tuple[int, Outcome]] = []
        bearer = self._signer.bearer(now) if self._signer else None
        flights = [
            self._begin(environment, found, bearer, self.limits.deadline_ms, told)
            for environment, found in self._by_environment(pushes, told).items()
        ]
        del pushes  # what waits for a silent phone keeps nothing of the others
        try:
            while told or flights:
                if flights:
                    await asyncio.wait([flight.batch.done for flight in flights], timeout=patience_s)
                for flight in list(flights):
                    aged = await self._land(flight, told)
                    if not flight.batch.left:
                        flights.remove(flight)
                    if aged and self._signer:
                        left = max(int((ends_at - time()) * SECOND), SECOND)
                        renewed = self._signer.renewed_bearer(now)
                        flights.append(self._begin(flight.environment, aged, renewed, left, told, last=True))
                if told or flights:
                    yield told
                told = []
        finally:
            for flight in flights:
                flight.batch.abandon()

    def _by_environment(
        self, pushes: Sequence[Push | None], told: list[tuple[int, Outcome]]
    ) -> dict[str, list[tuple[int, Push]]]:
        """Places and pushes by environment; into *told* what belongs to none."""
        found: dict[str, list[tuple[int, Push]]] = {}
        for place, push in enumerate(pushes):
            if push is None:
                told.append((place, Rejected("no_token")))
                continue
            environment = push.token.environment or PRODUCTION
            if environment in self._transports:
                found.setdefault(environment, []).append((place, push))
            else:
                told.append((place, Rejected("unknown_environment")))
        return found

    def _begin(
        self,
        environment: str,
        pushes: Sequence[tuple[int, Push]],
        bearer: str | None,
        deadline_ms: Millis,
        told: list[tuple[int, Outcome]],
        *,
        last: bool = False,
    ) -> _Flight:
        """Sends; into *told* what cannot be sent."""
        requests: list[Request] = []
        sent: list[tuple[int, Push]] = []
        for place, push in pushes:
            try:
                requests.append(build_request(push, self._hosts[environment], self._topic, bearer))
            except Unsendable as fault:
                told.append((place, Rejected(str(fault))))
            else:
                sent.append((place, push))
        batch = self._transports[environment].begin(requests, deadline_ms)
        return _Flight(environment, batch, dict(enumerate(sent)), last=last or self._signer is None)

    async def _land(self, flight: _Flight, told: list[tuple[int, Outcome]]) -> list[tuple[int, Push]]:
        """Into *told* what was answered; returns those to be sent again, whose provider token Apple called too old."""
        aged: list[tuple[int, Push]] = []
        leave = False
        for index, answer in flight.batch.take():
            place, push = flight.pushes.pop(index)
            outcome, verdict = _judge(answer, push.push_id)
            if verdict is Verdict.AGED and not flight.last:
                aged.append((place, push))
            else:
                told.append((place, outcome))
            leave = leave or verdict is Verdict.OTHER_CONNECTION
        if leave:
            await self._transports[flight.environment].renew()
        return aged

    async def close(self) -> None:
        """Ends both environments' connections."""
        for transport in self._transports.values():
            await transport.close()


def _judge(answer: Reply | TransportFault, apns_id: str) -> tuple[Outcome, Verdict | None]:
    if isinstance(answer, TransportFault):
        return answer.outcome, None
    return read(answer, apns_id)
