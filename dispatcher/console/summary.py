"""What the overview says of one look: alerts first, then the figures, the funnel, the classes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.console.api import ApiError
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import (
    NEARLY_FULL,
    badge,
    empty_state,
    fullness,
    meter,
    path_badge,
    problem_box,
    table,
    tile,
)
from dispatcher.console.words import PATHS, compact, number, path_name, percent, seconds, time_tag

_EACH = {"1m": "a minute", "1h": "an hour", "1d": "a day", "7d": "a week", "30d": "a month"}


@dataclass(frozen=True, kw_only=True)
class Budget:
    """SMS segments that may be spent in *window* (as the strategy writes it), and how many were."""

    allowed: int
    window: str
    spent: int = 0

    @property
    def share(self) -> float:
        """Spent of allowed; a budget of nothing is used up."""
        return self.spent / self.allowed if self.allowed else 1.0


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One look at everything the page shows; None: not answered, with the reason in `faults`."""

    stats: Mapping[str, Any] | None
    earlier: Mapping[str, Any] | None
    by_class: Mapping[str, Any] | None
    books: Mapping[str, Any] | None
    providers: Mapping[str, Any] | None
    budget: Budget | None
    faults: tuple[ApiError, ...] = ()


def read_budget(text: str | None) -> Budget | None:
    """``20000 segments/1d``, nothing spent yet; None where there is none."""
    words = (text or "").replace("segments", "").split("/")
    if len(words) != 2 or not words[0].strip().isdigit():
        return None
    return Budget(allowed=int(words[0]), window=words[1].strip())


def alerts(found: Snapshot, zone: ZoneInfo) -> Markup:
    """What is wrong now, the worst first; one calm line where nothing is."""
    bad: list[Any] = [problem_box(error) for error in found.faults[:1]]
    warn: list[Any] = []
    for provider in (found.providers or {}).get("providers", ()):
        name = path_name(provider["path"])
        since = join(" since ", time_tag(provider["since"], zone)) if provider.get("since") else None
        said = (since, provider.get("reason") or "", el("a", "Providers", href="/providers"))
        if provider["circuit"] == "open":
            bad.append(_alert("bad", f"{name}: circuit open", *said))
        elif provider["circuit"] == "half_open":
            warn.append(_alert("warn", f"{name}: being probed back in", *said))
        if provider.get("paused"):
            warn.append(_alert("warn", f"{name}: paused", *said))
    books = found.books
    if books is not None and not books["balanced"]:
        missing = sum(abs(one.get("missing", 0)) for one in books["classes"].values())
        bad.append(_alert("bad", "The books do not balance", f"{number(missing)} messages are unaccounted for."))
    if (budget := found.budget) is not None and budget.share >= NEARLY_FULL:
        words = f"{number(budget.spent)} of {number(budget.allowed)} segments {_each(budget.window)}."
        if budget.share >= 1:
            bad.append(_alert("bad", "The SMS budget is used up", words, "No SMS leaves until it frees up."))
        else:
            warn.append(_alert("warn", f"{percent(budget.spent, budget.allowed)} of the SMS budget is spent", words))
    if not bad and not warn and found.stats is not None:
        words = "All circuits are closed, the books balance, and SMS is within its budget."
        return el("div", "✓", el("span", words), class_="alert fine", role="status")
    return join(bad, warn)


def _alert(tone: str, title: str, *parts: Any) -> Markup:
    said = [el("span", part) for part in parts if part]
    return el("div", el("strong", title), said, class_=f"alert tone-{tone}", role="alert")


def _each(window: str) -> str:
    return _EACH.get(window, f"in {window}")


def tiles(found: Snapshot) -> Markup:
    """The six figures."""
    totals = (found.stats or {})["totals"]
    earlier = (found.earlier or {}).get("totals") or {}
    confirmed, settled = (totals.get("ends") or {}).get("confirmed", 0), totals.get("settled") or 0
    proof = totals.get("time_to_proof") or {}
    balanced = None if found.books is None else bool(found.books["balanced"])
    return el(
        "div",
        tile("Accepted", compact(totals.get("accepted")), _change(totals.get("accepted"), earlier.get("accepted"))),
        tile("Confirmed", percent(confirmed, settled), f"{number(confirmed)} of {number(settled)} settled"),
        tile("Time to proof", seconds(proof.get("p50_s")), f"95 of 100 within {seconds(proof.get('p95_s'))}"),
        _sms_tile(found, totals),
        tile("In flight", compact(totals.get("open")), "accepted, not settled yet"),
        tile(
            "Books",
            {None: "–", True: "Balanced", False: "Off"}[balanced],
            "accepted = settled + in flight",
            tone={None: "", True: "good", False: "bad"}[balanced],
        ),
        class_="tiles",
    )


def spent(totals: Mapping[str, Any]) -> int:
    """SMS segments of a row of figures; released reservations cost nothing and are no part of it."""
    segments: Mapping[str, int] = totals.get("sms_segments") or {}
    return sum(count for state, count in segments.items() if state != "released")


def _sms_tile(found: Snapshot, totals: Mapping[str, Any]) -> Markup:
    budget = found.budget
    if budget is None:
        return tile("SMS segments", compact(spent(totals)), "in this range; no budget is set")
    used = meter(budget.share, "SMS budget used")
    note = join(f"of {number(budget.allowed)} segments {_each(budget.window)}", used)
    return tile("SMS spent", compact(budget.spent), note, tone=fullness(budget.share))


def _change(now: float | None, before: float | None) -> str:
    if not before or now is None:
        return "nothing in the time before"
    change = 100 * (now - before) / before
    return f"{'▲' if change >= 0 else '▼'} {abs(change):,.0f} % against the time before"


def funnel(totals: Mapping[str, Any]) -> Markup:
    """Accepted, attempted, delivered, opened; how the others ended; attempts by path."""
    told = totals.get("funnel") or {}
    ends = totals.get("ends") or {}
    accepted = totals.get("accepted") or 0
    if not accepted:
        words = join("Dispatch one with ", el("code", "POST /v1/messages"), ", or try the ")
        return empty_state("No messages in this range", join(words, el("a", "phone lab", href="/phone-lab"), "."))
    stages = (
        ("Accepted", accepted, ""),
        ("Attempted", told.get("attempted", 0), "something left for a phone"),
        ("Delivered", told.get("delivered", 0), "proven by a phone or the carrier"),
        ("Opened", told.get("opened", 0), "the phone said so"),
    )
    rows = [
        el(
            "div",
            el("span", name, title=meaning or None),
            el("div", el("div", class_="funnel-bar", style=f"width:{value / accepted:.2%}"), class_="funnel-track"),
            el("div", number(value), el("small", percent(value, accepted)), class_="funnel-figure"),
            class_="funnel-row",
        )
        for name, value, meaning in stages
    ]
    open_ = el("p", f"{number(totals['open'])} are still open: they count as accepted only.", class_="small muted")
    return join(
        el("div", rows, class_="funnel"),
        open_ if totals.get("open") else None,
        _ends(ends),
        _attempts(totals.get("outcomes") or {}),
    )


def _attempts(outcomes: Mapping[str, Mapping[str, int]]) -> Markup:
    rows = []
    for path in PATHS:
        answers = outcomes.get(path) or {}
        total = sum(answers.values())
        if total:
            rows.append((path_badge(path), number(total), percent(answers.get("handed_over", 0), total)))
    return table(("Path", "Attempts", "Handed over"), rows, caption="Attempts by path", numeric=(1, 2))


def _ends(ends: Mapping[str, int]) -> Markup:
    shown = [join(badge(end), " ", number(count), " ") for end, count in ends.items() if count and end != "confirmed"]
    return el("p", "Ended otherwise: ", shown, class_="line small muted") if shown else join()


def classes(by_class: Mapping[str, Any] | None) -> Markup:
    """One row a class, the busiest first."""
    rows = [
        (
            el("a", row["class"], href=f"/deliveries?class={row['class']}"),
            number(row.get("accepted")),
            percent((row.get("ends") or {}).get("confirmed", 0), row.get("settled")),
            seconds((row.get("time_to_proof") or {}).get("p50_s")),
            seconds((row.get("time_to_proof") or {}).get("p95_s")),
        )
        for row in sorted((by_class or {}).get("rows", ()), key=lambda row: -(row.get("accepted") or 0))
        if row.get("class")
    ]
    return table(
        ("Class", "Accepted", "Confirmed", "p50", "p95"),
        rows,
        caption="Figures by class",
        numeric=(1, 2, 3, 4),
        empty="No messages in this range.",
    )
