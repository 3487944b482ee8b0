"""Circuits and switches in front of a provider: asked before a batch leaves, told what came of it.

What a shut path cannot take goes on to the next step that can be taken; where there is none it waits, as the same
attempt, until the path opens again or its ttl ends: a pause costs time, not a message.
"""

from collections.abc import Sequence
from typing import Protocol

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Cursor, Event, Phase, move
from dispatcher.domain.device import Profile
from dispatcher.domain.message import Message
from dispatcher.domain.outcome import HandedOver, NotConnected, Outcome, Rejected, RetryLater, TokenDead, Unknown
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import position_of, rung_of
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.turns import LOOK_AGAIN, Decision, next_turn
from dispatcher.ports.circuits import Gate
from dispatcher.ports.homes import Contents, Queue
from strategies.facts import Row
from strategies.ladder import Ladder

OUTCOME_NAMES: dict[type, str] = {
    HandedOver: "handed_over",
    RetryLater: "retry_later",
    TokenDead: "token_dead",
    Rejected: "rejected",
    NotConnected: "not_connected",
    Unknown: "unknown",
}
#: Said of an app that never had credentials for a path: nothing broke, so no circuit opens.
NO_CREDENTIALS = "no_credentials"


class Held(Protocol):
    """What is asked of a claimed member (``dispatcher.pipeline.send.Job``)."""

    @property
    def before(self) -> Cursor: ...
    @property
    def ladder(self) -> Ladder: ...
    @property
    def row(self) -> Row: ...
    @property
    def profile(self) -> Profile: ...
    @property
    def contents(self) -> Contents: ...
    @property
    def message(self) -> Message: ...
    @property
    def place(self) -> int: ...


def stays(job: Held, path: Path, parts: Parts, now: Millis) -> Decision | None:
    """The same attempt, a little later, where the ladder has nothing else to offer; None where it has."""
    if position_of(job.before.step):
        return None
    following = next_turn(
        job.ladder,
        job.before,
        rung_of(job.before.step),
        job.row,
        job.profile,
        lane=job.contents.lane,
        default_zone=parts.rules.default_zone,
        expires_at=job.message.expires_at,
        now=now,
        event=Event.FAILED,
    )
    if following.after.phase is not Phase.DONE:
        return None
    spread = job.place * 7 % 1_000  # a crowd that was held does not come back in one moment
    return Decision(
        after=Cursor(job.before.step, job.before.attempt, move(job.before.phase, Event.RETRY)),
        queue=Queue(path, job.contents.lane),
        due=min(now + LOOK_AGAIN + spread, job.message.expires_at),
        path=path,
    )


async def judge(app: str, path: Path, outcomes: Sequence[Outcome], gate: Gate, parts: Parts, now: Millis) -> None:
    """Counts what was answered; a configuration fault opens the circuit, a probe without one closes it.

    A probe that met a busy vendor or got no answer says nothing of our configuration: another one is made at once.
    """
    answers = [(OUTCOME_NAMES[type(outcome)], getattr(outcome, "reason", None) or "") for outcome in outcomes]
    parts.circuits.answered(app, path, answers, now)
    faults = [
        outcome.reason
        for outcome in outcomes
        if isinstance(outcome, Rejected) and outcome.configuration and outcome.reason != NO_CREDENTIALS
    ]
    if faults:
        await parts.circuits.faulted(app, path, faults[0], now, probe=gate.probe)
    elif gate.probe and any(map(_was_let_in, outcomes)):
        await parts.circuits.proven_well(app, path)
    elif gate.probe:
        await parts.circuits.probed_in_vain(app, path)


def _was_let_in(outcome: Outcome) -> bool:
    """Whether the provider took our credentials; who is told to slow down for one device was let in."""
    return outcome.device if isinstance(outcome, RetryLater) else not isinstance(outcome, Unknown)
