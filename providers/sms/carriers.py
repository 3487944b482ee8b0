"""Several carriers as one: the first that is well takes a text; what it certainly did not take goes to the next.

A carrier that could not be reached, was too busy, refused our account or left requests unanswered goes to the end of
the line for a while, ever longer; all workers of an app share who rests. A lost answer is never offered to another
carrier: the text may be on its way.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, Unknown
from dispatcher.ports.carrier_health import LONGEST_REST, CarrierHealth, OwnCarrierHealth, Rest
from dispatcher.ports.provider import LooksUp
from providers.base import Attempt, Limits, Provider


@dataclass(frozen=True, slots=True, kw_only=True)
class Carrier:
    """One carrier. *name*: among those of its app."""

    name: str
    provider: Provider


class Carriers:
    """A provider over *carriers*, in the order of the operator's preference."""

    def __init__(self, carriers: Sequence[Carrier], health: CarrierHealth | None = None) -> None:
        self._carriers = list(carriers)
        self._health = health or OwnCarrierHealth()
        first = carriers[0].provider.limits
        #: another carrier is only asked within the first deadline, so a call lasts two at most
        self.limits = Limits(
            batch=min(carrier.provider.limits.batch for carrier in carriers),
            payload_bytes=min(carrier.provider.limits.payload_bytes for carrier in carriers),
            concurrent=first.concurrent,
            deadline_ms=max(carrier.provider.limits.deadline_ms for carrier in carriers),
        )

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`. Reasons are those of the carrier that had the last word."""
        return list(await asyncio.gather(*(self._send(attempt, now) for attempt in attempts)))

    async def _send(self, attempt: Attempt, now: Millis) -> Outcome:
        time = asyncio.get_running_loop().time
        begun = time()
        refusals: list[Outcome] = []
        rests = await self._health.rests(now)
        for carrier in self.in_order(rests, now):
            elapsed = int((time() - begun) * SECOND)
            if refusals and elapsed >= self.limits.deadline_ms:
                break
            (outcome,) = await carrier.provider.send([attempt], now + elapsed)
            ended = now + int((time() - begun) * SECOND)
            match outcome:
                case HandedOver():
                    if carrier.name in rests:
                        await self._health.did_well(carrier.name)
                    return outcome
                case RetryLater(reason=reason, after_ms=after_ms):
                    await self._health.failed(carrier.name, reason, ended, at_least=after_ms or 0)
                    refusals.append(outcome)
                case Rejected(reason=reason, configuration=True):
                    await self._health.failed(carrier.name, reason, ended, at_least=LONGEST_REST)
                    refusals.append(outcome)
                case Unknown(reason=reason):
                    await self._health.failed(carrier.name, reason, ended, at_least=0)
                    return outcome
                case _:
                    return outcome
        return _kindest(refusals)

    def in_order(self, rests: Mapping[str, Rest], now: Millis) -> list[Carrier]:
        """Those that are well first, then whoever comes back soonest; all of them: a poor chance beats none."""

        def back_at(carrier: Carrier) -> Millis:
            rest = rests.get(carrier.name)
            return rest.until if rest is not None and rest.until > now else 0

        return sorted(self._carriers, key=back_at)

    async def look_up(self, attempt: Attempt) -> Outcome | None:
        """Whoever has it says so; None only where every carrier is sure that it never came."""
        unsure: Outcome | None = None
        for carrier in self._carriers:
            provider: object = carrier.provider
            found = await provider.look_up(attempt) if isinstance(provider, LooksUp) else Unknown("no_look_up")
            if isinstance(found, Unknown):
                unsure = found
            elif found is not None:
                return found
        return unsure

    async def close(self) -> None:
        """Ends all connections."""
        for carrier in self._carriers:
            await carrier.provider.close()


def _kindest(refusals: Sequence[Outcome]) -> Outcome:
    """What all refused: later where any may take it later (the soonest), else what the first one said.

    Only where every carrier asked for it is the wish to wait one that binds all workers.
    """
    later = [refusal for refusal in refusals if isinstance(refusal, RetryLater)]
    if not later:
        return refusals[0]
    soonest = min(later, key=lambda refusal: refusal.after_ms or 0)
    whole = len(later) == len(refusals) and all(refusal.brake for refusal in later)
    return RetryLater(soonest.reason, soonest.after_ms, brake=whole)
