"""What operators ask of strategies: check, publish, roll back, compare, try; and what is learned."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import yaml

from dispatcher.api.core import DocumentCheck, DocumentFault
from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.paths import Path
from dispatcher.errors import FieldError, Problem
from dispatcher.ledger.strategy_figures import VersionFigures, figures_of
from dispatcher.ledger.traffic import SqlTraffic
from dispatcher.pipeline.learning import segments_of, told
from dispatcher.pipeline.simulation import Progress, Question, live_rival, simulate_recorded
from dispatcher.ports.directory import StrategyVersion
from strategies import learn
from strategies.catalogue import CATALOGUE
from strategies.compile import Strategy, compile_strategy
from strategies.document import parse_document
from strategies.facts import FactsInvalid
from strategies.ownership import owned_classes
from strategies.simulate import simulate_facts
from strategies.validate import validate

#: A draft has no number yet.
DRAFT = 0


class StrategyDesk:
    """Strategies of all apps, over the ledger's store."""

    def __init__(self, stores: Stores) -> None:
        self.strategies = stores.strategies
        self._stores = stores
        self._traffic = SqlTraffic(stores.engine)
        self._simulating = asyncio.Lock()

    async def validate_strategy(self, app: str, document: str) -> DocumentCheck:
        """Reads and compiles a document (YAML or JSON text); stores nothing."""
        return check_document(document, None)

    async def publish_strategy(self, app: str, name: str, percent: int, by: str, now: Millis) -> StrategyVersion:
        """Judges the draft against the other published ones, then makes it live, in one transaction."""
        return await self.strategies.publish(app, name, percent=percent, by=by, now=now, judge=judge)

    async def rollback_strategy(self, app: str, name: str, version: int, by: str, now: Millis) -> StrategyVersion:
        """Judged like a publish: meanwhile another strategy may have come to own a class of the earlier document."""
        return await self.strategies.rollback(app, name, version, by=by, now=now, judge=judge)

    async def version_figures(
        self, app: str, name: str, since: Millis, until: Millis
    ) -> Mapping[int, Mapping[str, Any]]:
        """See :class:`dispatcher.api.core.Core`."""
        found = await figures_of(self._stores.engine, app, name, since, until)
        return {version: _shown(figures) for version, figures in found.items()}

    async def simulate_facts(self, app: str, document: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        """See :class:`dispatcher.api.core.Core`."""
        try:
            return simulate_facts(compiled(document), dict(facts))
        except FactsInvalid as invalid:
            faults = [FieldError(f"facts.{name}", fault) for name, fault in invalid.faults.items()]
            raise Problem.invalid_fields(faults) from None

    async def simulate_recorded(
        self,
        app: str,
        document: str,
        since: Millis,
        until: Millis,
        *,
        sample: float,
        segment_price: float,
        progress: Progress | None = None,
    ) -> Mapping[str, Any]:
        """See :class:`dispatcher.api.core.Core`. One at a time a process, the next ones wait."""
        new = compiled(document)
        question = Question(app=app, new=new, since=since, until=until, sample=sample, segment_price=segment_price)
        async with self._simulating:
            old = live_rival(await self._stores.parts.book.shelf(app), new)
            return await simulate_recorded(question, old, self._traffic, self._stores.parts, progress)

    async def device_rates(self, app: str, user_id: str, device_id: str) -> Mapping[str, Any]:
        """By path: the numbers the engine uses and where each is from, and what this device's receipts taught."""
        parts = self._stores.parts
        profile = (await parts.profiles.get(app, [user_id]))[user_id]
        device = profile.device(device_id)
        if device is None:
            return {}
        own = await parts.learning.device(app, user_id, device_id)
        settings = await self.strategies.learning(app)
        segments = await parts.learning.segments(app, self._stores.clock())
        answers = told(profile, device, {path: learn.rates(one) for path, one in own.items()}, segments, settings)
        keys = segments_of(profile, device)
        return {
            path.value: {
                **(msgspec.to_builtins(answers[path]) if path in answers else _NOTHING_TOLD),
                "attempts": round(own[path].attempts, 2) if path in own else 0.0,
                "receipts": round(own[path].receipts, 2) if path in own else 0.0,
                "segment": keys[path],
                "pinned": learn.device_key(device_id, path) in settings.pins,
            }
            for path in Path
            if path in answers or path in own
        }

    async def learned_segments(self, app: str) -> Mapping[str, Any]:
        """See :class:`dispatcher.api.core.Core`."""
        found = await self._stores.parts.learning.segments(app, self._stores.clock())
        return {
            key: {
                "ack_rate": rates.ack_rate,
                "p95_s": rates.p95_s,
                "attempts": round(rates.attempts, 2),
                "receipts": round(rates.receipts, 2),
            }
            for key, rates in sorted(found.items())
        }

    def facts(self) -> Mapping[str, Any]:
        """The fact catalogue."""
        return {
            "facts": [
                {
                    "name": fact.name,
                    "type": fact.type.value,
                    "description": fact.description,
                    "sample": fact.sample,
                    "known": fact.known.value,
                    "values": list(fact.values),
                }
                for fact in CATALOGUE
            ]
        }


_NOTHING_TOLD: Mapping[str, Any] = {"ack_rate": None, "ack_rate_from": "none", "p95_s": None, "p95_from": "none"}


def judge(document: str, others: Sequence[StrategyVersion]) -> None:
    """Problem 422 for what may not go live beside *others*."""
    owned = owned_classes(parse_document(one.document) for one in others)
    _refuse(check_document(document, owned))


def compiled(document: str) -> Strategy:
    """A document as a strategy to try; Problem 422 with every fault."""
    _refuse(check_document(document, None))
    parsed = parse_document(document)
    return compile_strategy(parsed, parsed.name, DRAFT)


def check_document(text: str, owned: Mapping[str, str] | None) -> DocumentCheck:
    """Every fault with its place; name and document where there is none."""
    faults = tuple(
        DocumentFault(problem.line, problem.column, problem.message) for problem in validate(text, owned_classes=owned)
    )
    if faults:
        return DocumentCheck(errors=faults)
    document: dict[str, Any] = msgspec.to_builtins(yaml.safe_load(text), str_keys=True)
    return DocumentCheck(name=document["strategy"], document=document)


def _refuse(check: DocumentCheck) -> None:
    if check.errors:
        raise Problem.invalid_fields(
            [FieldError(f"{fault.line}:{fault.column}", fault.message) for fault in check.errors]
        )


def _shown(figures: VersionFigures) -> Mapping[str, Any]:
    p50, p95 = figures.time_to_proof_s or (None, None)
    confirmed = figures.states.get("confirmed", 0)
    return {
        "deliveries": figures.deliveries,
        "confirmed": confirmed,
        "confirmed_share": round(confirmed / figures.deliveries, 4) if figures.deliveries else None,
        "states": dict(figures.states),
        "confirmed_by": dict(figures.confirmed_by),
        "sms": {"messages": figures.sms_messages, "segments": figures.sms_segments},
        "time_to_proof_s": {"p50": p50, "p95": p95},
    }
