"""What the engine answers: plans, ladders and turns, as frozen values that print and travel.

A ladder carries all that its later turns need: resolved waits, the text of each `if`, the limits. So a delivery keeps
the version it was planned with, also when that version is no longer loaded or the strategy was deleted.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from strategies.document import PushLimits, SmsLimits
from strategies.facts import FactValue


class Reason(StrEnum):
    """Why a path was skipped."""

    NO_DEVICE = "no_device"
    NO_TOKEN = "no_token"  # noqa: S105 - a reason, not a secret
    NO_VENDOR_PATH = "no_vendor_path"
    OFFLINE = "offline"
    CIRCUIT_OPEN = "circuit_open"
    NO_PHONE = "no_phone"
    UNVERIFIED_NUMBER = "unverified_number"
    OPTED_OUT = "opted_out"
    MUTED = "muted"
    BUDGET_EXHAUSTED = "budget_exhausted"
    CONDITION = "condition"
    CONDITION_UNKNOWN = "condition_unknown"


class WaitBasis(StrEnum):
    """Where a step's wait comes from."""

    FIXED = "fixed"
    LEARNED = "learned"
    NO_HISTORY = "no_history"
    TTL = "ttl"


class Step(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One step. `paths` are tried at once; `push` stands where the device has no vendor path yet.

    wait_ms: how long to wait for proof; None: until the ttl. until: delivered | displayed | opened.
    condition: the text of its `if`, asked when its turn comes. retries: further attempts inside the wait.
    """

    paths: tuple[str, ...]
    wait_ms: int | None
    until: str = "delivered"
    condition: str | None = None
    retries: int = 3
    priority: str | None = None
    basis: WaitBasis = WaitBasis.FIXED


class Skip(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A path of a step that could not be taken, and why."""

    step: int
    path: str
    reason: Reason


class Ladder(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The planned steps of one track with everything their turns need.

    quiet: what to do in the user's quiet hours (hold | silent), None when the class ignores them.
    sms, push: the limits of the version it was planned with.
    """

    strategy: str
    version: int
    rule: str
    steps: tuple[Step, ...]
    reach: str = "any"
    grace_ms: int = 20_000
    quiet: str | None = None
    sms: SmsLimits | None = None
    push: PushLimits | None = None


class Unknown(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A rule that could not be judged because these facts were missing; it did not match."""

    rule: str
    missing: tuple[str, ...]


class Plan(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The decision for one device: the rule that matched, its ladder, and what cannot be taken now.

    skipped: what no step could use at planning; each step is asked again when its turn comes. names and values: the
    facts that decided, in the same order. when: the condition that held, None where the rule matches all.
    """

    rule_index: int
    ladder: Ladder
    skipped: tuple[Skip, ...]
    names: tuple[str, ...]
    values: tuple[FactValue | None, ...]
    unknown: tuple[Unknown, ...] = ()
    when: str | None = None

    @property
    def rule(self) -> str:
        """The name of the rule that matched."""
        return self.ladder.rule

    @property
    def strategy(self) -> str:
        """The strategy's name."""
        return self.ladder.strategy

    @property
    def version(self) -> int:
        """The strategy's version."""
        return self.ladder.version

    @property
    def steps(self) -> tuple[Step, ...]:
        """The ladder's steps."""
        return self.ladder.steps

    @property
    def reach(self) -> str:
        """any: proof on one device settles; each: proof wanted from every device that was tried."""
        return self.ladder.reach

    @property
    def grace_ms(self) -> int:
        """How long a device that lost its connection counts as reconnecting."""
        return self.ladder.grace_ms

    @property
    def facts(self) -> dict[str, FactValue | None]:
        """The facts that decided (None: missing)."""
        return dict(zip(self.names, self.values, strict=True))


class Turn(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is due now. index None: the ladder ran out.

    paths: to try now, `push` resolved. held: paths of this step that wait for the end of the user's quiet hours; take
    the step's turn again then (with other paths in `paths`, those go now). wait_ms: for proof, with what is left of
    the grace. silent: without sound or vibration.
    """

    index: int | None
    paths: tuple[str, ...] = ()
    held: tuple[str, ...] = ()
    wait_ms: int | None = None
    silent: bool = False
    skipped: tuple[Skip, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_ladders = msgspec.msgpack.Decoder(Ladder)
_plans = msgspec.msgpack.Decoder(Plan)


def pack_ladder(ladder: Ladder) -> bytes:
    """A ladder as msgpack, for the hot store. Equal ladders give equal bytes, so they can be stored once."""
    return _encoder.encode(ladder)


def unpack_ladder(packed: bytes) -> Ladder:
    """The ladder of `pack_ladder`. Raises msgspec.DecodeError on anything else."""
    return _ladders.decode(packed)


def pack_plan(plan: Plan) -> bytes:
    """A plan as msgpack, for the journal: all that its explanation needs, so that it can be put in words when asked."""
    return _encoder.encode(plan)


def unpack_plan(packed: bytes) -> Plan:
    """The plan of `pack_plan`. Raises msgspec.DecodeError on anything else."""
    return _plans.decode(packed)
