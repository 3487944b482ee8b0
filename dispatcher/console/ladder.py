"""The ladder of each rule as a picture, read from a document that the API found valid."""

from collections.abc import Mapping, Sequence
from difflib import unified_diff
from typing import Any

import yaml

from dispatcher.console.markup import Markup, el, join
from dispatcher.console.words import path_name, plain

#: What a step does unless told otherwise (the strategy document's defaults): not worth a word.
_USUAL = {"until": "delivered", "retries": 3, "priority": "normal"}


def read_document(text: str) -> Mapping[str, Any] | None:
    """A strategy document for drawing; None where it cannot be read. Judging it is the API's work."""
    if "&" in text and "*" in text and any(mark in text for mark in (": &", "- &")):
        return None  # anchors are no part of the format; they could make a small text huge
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return None
    return found if isinstance(found, dict) else None


def ladders(document: Mapping[str, Any], matched: str | None = None) -> Markup:
    """All rules in their order, the one called *matched* marked."""
    rules = document.get("rules")
    if not isinstance(rules, list):
        return join()
    return el(
        "div", [_rule(at, rule, matched) for at, rule in enumerate(rules, 1) if isinstance(rule, dict)], class_="ladder"
    )


def _rule(at: int, rule: Mapping[str, Any], matched: str | None) -> Markup:
    name = plain(rule.get("name"))
    when = (
        el("code", plain(rule["when"]))
        if rule.get("when") is not None
        else el("span", "everything else", class_="muted")
    )
    mark = el("span", "matched", class_="badge tone-busy") if matched == name else None
    head = el("div", el("span", f"{at}.", class_="rule-number"), el("strong", name), mark, when, class_="rule-head")
    return el("article", head, rungs(rule.get("ladder") or ()), class_="rule matched" if matched == name else "rule")


def rungs(ladder: Sequence[Any]) -> Markup:
    """The steps from left to right, each with how long it waits for proof."""
    steps = [step for step in ladder if isinstance(step, dict)]
    drawn = []
    for at, step in enumerate(steps):
        last = at == len(steps) - 1
        wait = plain(step.get("wait")) if step.get("wait") is not None else "until ttl"
        drawn.append(
            el(
                "li",
                _step(at + 1, step, last=last),
                None if last else el("span", wait, class_="rung-wait"),
                class_="rung",
            )
        )
    return el("ol", drawn, class_="rungs")


def _step(number: int, step: Mapping[str, Any], *, last: bool) -> Markup:
    paths = step.get("paths") if isinstance(step.get("paths"), list) else [step.get("path")]
    names = " + ".join(path_name(plain(path)) for path in paths or ())
    notes = [
        f"{key} {plain(step[key])}"
        for key in ("priority", "until", "retries")
        if step.get(key) is not None and step[key] != _USUAL.get(key)
    ]
    wait = f"waits {plain(step['wait'])}" if step.get("wait") is not None else "waits until ttl"
    lines: list[Any] = [el("b", f"{number}. {names}"), el("small", wait) if last else None]
    if notes:
        lines.append(el("small", ", ".join(notes)))
    condition = step.get("if")
    if condition is not None:
        words = plain(condition)
        lines.append(el("small", "if ", el("code", words if len(words) < 60 else words[:57] + "…"), title=words))
    first = plain((paths or [""])[0])
    return el("div", lines, class_=f"rung-box path-{first}")


def difference(old: str, new: str) -> Markup:
    """What changed from one text to another, line by line."""
    lines = list(unified_diff(old.splitlines(), new.splitlines(), n=3, lineterm=""))[2:]
    if not lines:
        return el("p", "The two are the same.", class_="empty-line")
    classes = {"+": "add", "-": "del", "@": "hunk"}
    drawn = [el("span", line or " ", class_=classes.get(line[:1])) for line in lines]
    return el("div", drawn, class_="diff", tabindex="0", role="region", aria_label="Differences")
