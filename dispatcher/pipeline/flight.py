"""What was handed to a provider, followed as it is answered: a request that stays silent holds up no other.

Who has no answer yet stays claimed, under the same ids, and is settled by itself: when it is answered, or when its
deadline ends. A process that dies meanwhile leaves it to its lease, as any other claim.
"""

from collections import defaultdict
from collections.abc import AsyncGenerator, Coroutine, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Phase
from dispatcher.domain.outcome import Outcome, Rejected
from dispatcher.domain.paths import Path
from dispatcher.pipeline.brakes import set_brakes
from dispatcher.pipeline.circuit import NO_CREDENTIALS, judge
from dispatcher.pipeline.follow import follow, note_attempts
from dispatcher.pipeline.jobs import Job, gather_jobs, settle
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.circuits import Gate
from dispatcher.ports.homes import Claim, Members, Queue
from dispatcher.ports.provider import AnswersInParts, Attempt, Part, Provider

#: How long a batch waits for its last answers before what is known is settled without them.
PATIENCE_S = 0.5


class Later(Protocol):
    """Goes on beside other work with attempts that have no answer yet."""

    def __call__(self, app: str, attempts: int, rest: Coroutine[None, None, set[Queue]]) -> None:
        """*rest* settles those that are answered next, hands the others on by another call, and answers the queues
        that have work now. *attempts*: how many are out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Flight:
    """What all attempts of a batch share."""

    app: str
    path: Path
    gate: Gate
    parts: Parts
    answers: AsyncGenerator[Part, None]
    started: Millis
    begun: float

    async def follow(self, results: Sequence[tuple[Job, Attempt, Outcome]]) -> None:
        """Into the jobs' drafts what these answers mean; for all of the app what they say of the provider."""
        app, path, parts, now = self.app, self.path, self.parts, self.parts.clock()
        if not results:
            return
        parts.telemetry.provider_answered(path, perf_counter() - self.begun)
        await judge(app, path, [outcome for _, _, outcome in results], self.gate, parts, now)
        note_attempts(path, [(job, outcome) for job, _, outcome in results], self.started, now)
        await set_brakes(app, path, [(attempt.device_id, outcome) for _, attempt, outcome in results], parts, now)
        for job, attempt, outcome in results:
            await follow(job, path, attempt, outcome, parts, self.started, now)


@dataclass(frozen=True, slots=True)
class _Waiting:
    """One attempt without an answer. *claim*: its own, of which it keeps no other member."""

    claim: Claim
    place: int
    track: int
    attempt: Attempt


async def hand_over(
    provider: Provider | None,
    path: Path,
    work: Sequence[tuple[Job, Attempt]],
    gate: Gate,
    parts: Parts,
    later: Later | None,
) -> None:
    """Sends one app's *work* and follows what is answered; by *later* goes on what is not within the patience, and
    without it everything is waited for."""
    started = parts.clock()
    attempts = [attempt for _, attempt in work]
    flight = _Flight(
        app=work[0][0].claim.app,
        path=path,
        gate=gate,
        parts=parts,
        answers=_answers(provider, attempts, started, None if later is None else PATIENCE_S),
        started=started,
        begun=perf_counter(),
    )
    left = dict(enumerate(work))
    results = [(*left.pop(place), outcome) for place, outcome in await anext(flight.answers)]
    if later is None or not left:
        await flight.answers.aclose()
    else:
        later(flight.app, len(left), _rest(flight, _waiting(left), later))
    await flight.follow(results)


async def _rest(flight: _Flight, left: dict[int, _Waiting], later: Later) -> set[Queue]:
    """The next answers of *left*, settled; their users and devices are read anew, as they are by now."""
    part: Part = ()
    while not part:
        part = await anext(flight.answers)
    told = [(left.pop(place), outcome) for place, outcome in part]
    if left:
        later(flight.app, len(left), _rest(flight, left, later))
    else:
        await flight.answers.aclose()
    jobs = await gather_jobs(
        _claims([waiting for waiting, _ in told]), flight.parts, flight.parts.clock(), phase=Phase.SENDING
    )
    by_member = {
        (waiting.claim.members.home, waiting.place, waiting.track): (waiting.attempt, outcome)
        for waiting, outcome in told
    }
    await flight.follow([(job, *by_member[job.claim.members.home, job.place, job.track]) for job in jobs])
    return await settle(jobs, flight.parts, flight.parts.clock())


async def _answers(
    provider: Provider | None, attempts: Sequence[Attempt], now: Millis, patience_s: float | None
) -> AsyncGenerator[Part, None]:
    """As :class:`AnswersInParts`, whatever *provider* can."""
    if provider is None:
        yield [(place, Rejected(NO_CREDENTIALS, configuration=True)) for place in range(len(attempts))]
    elif isinstance(provider, AnswersInParts):
        answers = provider.send_in_parts(attempts, now, patience_s)
        del attempts
        try:
            async for part in answers:
                yield part
        finally:
            await answers.aclose()
    else:
        yield list(enumerate(await provider.send(attempts, now)))


def _waiting(left: dict[int, tuple[Job, Attempt]]) -> dict[int, _Waiting]:
    """Those of *left* without the jobs, which know all of their home's other members."""
    bare: dict[int, Claim] = {}
    found: dict[int, _Waiting] = {}
    for place, (job, attempt) in left.items():
        whole = job.claim
        if id(whole) not in bare:
            bare[id(whole)] = _with_members(whole, ())
        found[place] = _Waiting(bare[id(whole)], job.place, job.track, attempt)
    return found


def _claims(waiting: Sequence[_Waiting]) -> list[Claim]:
    """The claims of *waiting*, with them as their members."""
    members: dict[int, list[_Waiting]] = defaultdict(list)
    for one in waiting:
        members[id(one.claim)].append(one)
    return [_with_members(found[0].claim, tuple((one.place, one.track) for one in found)) for found in members.values()]


def _with_members(claim: Claim, members: tuple[tuple[int, int], ...]) -> Claim:
    of = claim.members
    return replace(claim, members=Members(of.home, of.cursor, members), attempted_at=())
