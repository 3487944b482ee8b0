"""Circuits and switches in front of providers, and what providers answered lately.

Failure policy: fails open. Where the hot store cannot be asked, attempts pass, and the attempt will tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dispatcher.domain.circuit import CircuitState
from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path

#: How far back "lately" reaches.
WINDOW: Millis = 300_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """Whether attempts pass now. *probe*: one may, to find out. *reason*: ``paused`` or ``circuit_open``."""

    passes: bool = True
    probe: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PathView:
    """One path of one app as operators see it."""

    state: CircuitState = CircuitState.CLOSED
    paused: bool = False
    reason: str | None = None  #: of the pause, else of the open circuit, else of receipts that are not as usual
    since: Millis | None = None
    probe_at: Millis | None = None  #: of a circuit that is not closed
    #: how many attempts had which (outcome, reason) within WINDOW
    answers: Mapping[tuple[str, str], int] = field(default_factory=dict)
    #: from hand-over to proof, by bucket of dispatcher.domain.histogram, within WINDOW
    receipts: Mapping[int, int] = field(default_factory=dict)
    vain: int = 0  #: attempts whose wait passed without proof, within WINDOW
    last_minute: int = 0  #: attempts that left within the last minute (up to half a minute more)
    usual_rate: float | None = None  #: share of attempts proven, hours back; None: not known yet
    usual_p95_s: float | None = None


class Circuits(Protocol):
    """Shared by all processes."""

    async def gate(self, app: str, path: Path, now: Millis) -> Gate:
        """Asked before a batch is sent. A probe is given to one asker at a time."""

    async def faulted(self, app: str, path: Path, reason: str, now: Millis, *, probe: bool) -> None:
        """A configuration fault was met."""

    async def proven_well(self, app: str, path: Path) -> None:
        """A probe met none."""

    async def probed_in_vain(self, app: str, path: Path) -> None:
        """A probe left nothing known, or never left: the next asker may probe."""

    def answered(self, app: str, path: Path, answers: Sequence[tuple[str, str]], now: Millis) -> None:
        """(outcome, reason) of attempts. Kept in this process for up to a second; never waits."""

    def received(self, app: str, path: Path, after: Millis, now: Millis) -> None:
        """A receipt proved an attempt on *path*, *after* its hand-over. As :meth:`answered`."""

    def waited(self, app: str, path: Path, count: int, now: Millis) -> None:
        """The waits of so many handed-over attempts passed in vain. As :meth:`answered`."""

    async def pause(self, app: str, path: Path, by: str, reason: str, now: Millis) -> None:
        """Nothing is sent on *path* until :meth:`resume`."""

    async def resume(self, app: str, path: Path) -> None:
        """Ends a pause."""

    async def reset(self, app: str, path: Path, now: Millis) -> None:
        """Credentials were changed: an open circuit probes soon."""

    async def view(self, app: str, now: Millis) -> Mapping[Path, PathView]:
        """All paths."""


class OpenCircuits:
    """Lets everything pass and keeps nothing: for tools and tests that have no providers to watch."""

    async def gate(self, app: str, path: Path, now: Millis) -> Gate:
        """Always."""
        return Gate()

    async def faulted(self, app: str, path: Path, reason: str, now: Millis, *, probe: bool) -> None:
        """Nothing."""

    async def proven_well(self, app: str, path: Path) -> None:
        """Nothing."""

    async def probed_in_vain(self, app: str, path: Path) -> None:
        """Nothing."""

    def answered(self, app: str, path: Path, answers: Sequence[tuple[str, str]], now: Millis) -> None:
        """Nothing."""

    def received(self, app: str, path: Path, after: Millis, now: Millis) -> None:
        """Nothing."""

    def waited(self, app: str, path: Path, count: int, now: Millis) -> None:
        """Nothing."""

    async def pause(self, app: str, path: Path, by: str, reason: str, now: Millis) -> None:
        """Nothing."""

    async def resume(self, app: str, path: Path) -> None:
        """Nothing."""

    async def reset(self, app: str, path: Path, now: Millis) -> None:
        """Nothing."""

    async def view(self, app: str, now: Millis) -> Mapping[Path, PathView]:
        """Everything closed."""
        return {path: PathView() for path in Path}
