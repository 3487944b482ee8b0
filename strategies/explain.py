"""Why a plan is what it is, as a value for the timeline and as words for people."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from strategies.facts import FactValue
from strategies.ladder import Ladder, Plan, Reason, Step, WaitBasis
from strategies.limits import format_duration

REASON_WORDS: dict[Reason, str] = {
    Reason.NO_DEVICE: "the user has no device",
    Reason.NO_TOKEN: "no live token is known",
    Reason.NO_VENDOR_PATH: "the platform has no vendor path here",
    Reason.OFFLINE: "the device is not connected, and its grace is over",
    Reason.CIRCUIT_OPEN: "the provider's circuit is open",
    Reason.NO_PHONE: "no phone number is known",
    Reason.UNVERIFIED_NUMBER: "the phone number is not verified",
    Reason.OPTED_OUT: "the user said no to SMS",
    Reason.MUTED: "the user muted this class",
    Reason.BUDGET_EXHAUSTED: "the SMS budget is used up",
    Reason.CONDITION: "the step's `if` does not hold",
    Reason.CONDITION_UNKNOWN: "a fact that the step's `if` needs is missing",
}


class Explanation(msgspec.Struct, frozen=True):
    """Why this rule and this ladder. `facts` are those that decided (None: missing); equal plans explain equally."""

    strategy: str
    version: int
    rule: str
    because: str
    facts: dict[str, FactValue | None]
    steps: tuple[str, ...]
    skipped: tuple[dict[str, str | int], ...]
    unknown: tuple[dict[str, Any], ...] = ()

    def __str__(self) -> str:
        lines = [f"rule {self.rule} of {self.strategy}@{self.version} matched because {self.because}"]
        lines += [f"  {number}. {step}" for number, step in enumerate(self.steps, start=1)]
        lines += [
            f"  skipped for now: {skip['path']} of step {skip['step']} ({REASON_WORDS[Reason(str(skip['reason']))]})"
            for skip in self.skipped
        ]
        lines += [f"  not judged: {gap['rule']} (missing: {', '.join(gap['missing'])})" for gap in self.unknown]
        return "\n".join(lines)


def explain(plan: Plan) -> Explanation:
    """The explanation of a plan. Steps count from 1."""
    return Explanation(
        strategy=plan.strategy,
        version=plan.version,
        rule=plan.rule,
        because=_because(plan),
        facts=plan.facts,
        steps=tuple(map(step_words, plan.steps)),
        skipped=tuple({"step": skip.step + 1, "path": skip.path, "reason": skip.reason.value} for skip in plan.skipped),
        unknown=tuple({"rule": gap.rule, "missing": list(gap.missing)} for gap in plan.unknown),
    )


def planned_detail(plan: Plan) -> dict[str, Any]:
    """The detail of the timeline's `planned` event (api.md): strategy, version, rule, facts, skipped."""
    return {
        "strategy": plan.strategy,
        "version": plan.version,
        "rule": plan.rule,
        "because": _because(plan),
        "facts": plan.facts,
        "skipped": [{"path": skip.path, "reason": skip.reason.value, "step": skip.step + 1} for skip in plan.skipped],
    }


def ladder_view(ladder: Ladder) -> list[dict[str, Any]]:
    """A ladder as dry runs and simulations show it; durations as strings, None: until the ttl."""
    return [
        {
            "paths": list(step.paths),
            "wait": None if step.wait_ms is None else format_duration(step.wait_ms),
            "until": step.until,
            "if": step.condition,
            "retries": step.retries,
            "priority": step.priority,
            "wait_from": step.basis.value,
        }
        for step in ladder.steps
    ]


def step_words(step: Step) -> str:
    """One step as a sentence."""
    words = " and ".join(step.paths)
    words += ", until the ttl" if step.wait_ms is None else f", wait {format_duration(step.wait_ms)}"
    if step.basis is WaitBasis.LEARNED:
        words += " (learned)"
    elif step.basis is WaitBasis.NO_HISTORY:
        words += " (no history yet: the longest allowed)"
    words += f" for {step.until}"
    return f"{words}, if {step.condition}" if step.condition else words


def _because(plan: Plan) -> str:
    facts = {name: value for name, value in plan.facts.items() if value is not None}
    if plan.when is None:
        if plan.rule_index == 0:
            return "it is the first rule and matches all"
        used = _listed(facts)
        return f"it matches all and no rule above it did{f' ({used})' if used else ''}"
    own = {name: value for name, value in facts.items() if name in plan.when}
    return f"{plan.when} holds ({_listed(own)})" if own else f"{plan.when} holds"


def _listed(facts: dict[str, FactValue]) -> str:
    return ", ".join(f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in facts.items())
