"""The circuit in front of one app's provider on one path.

It opens when the provider says that our credentials or settings are at fault: every further attempt would fail the same
way, and no token is to blame. Probes, one at a time and ever further apart, find out when that is over.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct

from dispatcher.domain.clock import MINUTE, SECOND, Millis

FIRST_PROBE: Millis = 5 * SECOND
LAST_PROBE: Millis = 5 * MINUTE


class CircuitState(StrEnum):
    """Whether attempts pass."""

    CLOSED = "closed"  #: all
    OPEN = "open"  #: none
    HALF_OPEN = "half_open"  #: a probe


class CircuitEvent(StrEnum):
    """What happens to a circuit."""

    FAULT = "fault"  #: an attempt met a configuration fault
    PROBE_DUE = "probe_due"  #: the time for another try has come
    PROVEN_WELL = "proven_well"  #: a probe met no configuration fault
    RESET = "reset"  #: an operator changed credentials


#: What the table lacks changes nothing: an attempt that was under way when the circuit opened tells nothing new.
TRANSITIONS: Mapping[tuple[CircuitState, CircuitEvent], CircuitState] = {
    (CircuitState.CLOSED, CircuitEvent.FAULT): CircuitState.OPEN,
    (CircuitState.OPEN, CircuitEvent.PROBE_DUE): CircuitState.HALF_OPEN,
    (CircuitState.HALF_OPEN, CircuitEvent.FAULT): CircuitState.OPEN,
    (CircuitState.HALF_OPEN, CircuitEvent.PROVEN_WELL): CircuitState.CLOSED,
    (CircuitState.OPEN, CircuitEvent.RESET): CircuitState.HALF_OPEN,
}


class Circuit(Struct, frozen=True, array_like=True, kw_only=True):
    """A circuit that is not closed. A closed one is not stored."""

    reason: str
    since: Millis
    probe_at: Millis
    backoff: Millis = FIRST_PROBE

    def state(self, now: Millis) -> CircuitState:
        """OPEN until a probe is due."""
        event = CircuitEvent.PROBE_DUE if now >= self.probe_at else None
        return CircuitState.OPEN if event is None else TRANSITIONS[CircuitState.OPEN, event]


def after_fault(circuit: Circuit | None, reason: str, now: Millis, *, probe: bool) -> Circuit:
    """A fault opens a closed circuit; a probe's fault keeps it open for twice as long."""
    if circuit is None:
        return Circuit(reason=reason, since=now, probe_at=now + FIRST_PROBE)
    if not probe:
        return circuit
    backoff = min(circuit.backoff * 2, LAST_PROBE)
    return Circuit(reason=reason, since=circuit.since, probe_at=now + backoff, backoff=backoff)


def after_reset(circuit: Circuit, probe_at: Millis) -> Circuit:
    """Somebody mended something: probe at *probe_at*, and soon again."""
    return Circuit(reason=circuit.reason, since=circuit.since, probe_at=probe_at)
