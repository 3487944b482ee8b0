"""Whether messages arrive, in five seconds: figures, paths over time, the funnel, the books, what is wrong now."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.charts import paths_over_time, proof_over_time
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import badge, card, empty_state, html, path_badge, problem_box, report, table, tile
from dispatcher.console.words import PATHS, compact, number, path_name, percent, seconds, time_tag

#: What can be looked at: (length, step of the curves).
RANGES: Mapping[str, tuple[timedelta, str]] = {
    "15m": (timedelta(minutes=15), "1m"),
    "1h": (timedelta(hours=1), "1m"),
    "6h": (timedelta(hours=6), "1m"),
    "24h": (timedelta(days=1), "1h"),
    "7d": (timedelta(days=7), "1h"),
    "30d": (timedelta(days=30), "1d"),
}
REFRESH_S = 5.0
_EACH = {"1m": "a minute", "1h": "an hour", "1d": "a day", "7d": "a week", "30d": "a month"}


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One look at everything the page shows; None: not answered, with the reason in `faults`."""

    stats: Mapping[str, Any] | None
    earlier: Mapping[str, Any] | None
    by_class: Mapping[str, Any] | None
    books: Mapping[str, Any] | None
    providers: Mapping[str, Any] | None
    day: Mapping[str, Any] | None
    budget: str | None
    faults: tuple[ApiError, ...] = field(default=())


@page("/", title="Overview", nav="overview")
async def overview(visit: Visit) -> None:
    """Live: asks again every five seconds while the page is looked at."""
    chosen = {"range": visit.query.get("range", "1h") if visit.query.get("range") in RANGES else "1h"}
    with ui.element("div").classes("head-row"):
        stamp = html("")
        choice = ui.toggle(list(RANGES), value=chosen["range"]).props(
            'unelevated dense padding="4px 12px" no-caps aria-label="Time range"'
        )
    alerts = html("", "alerts")
    tiles = html("")
    with ui.element("div").classes("grid-2"):
        with card("Proven by path", "Confirmed messages by the path that proved them, by when they were accepted."):
            curves = (
                ui.echart({}).classes("chart").props('role="img" aria-label="Confirmed messages by path over time"')
            )
        with card("From accepted to opened"):
            funnel = html("")
    with ui.element("div").classes("grid-2"):
        with card("Time to proof", "From accepted to the first receipt."):
            times = ui.echart({}).classes("chart low").props('role="img" aria-label="Time to proof over time"')
        with card("By class"):
            classes = html("")

    async def refresh() -> None:
        found = await take(visit, chosen["range"])
        if any(fault.signed_out for fault in found.faults):
            report(next(fault for fault in found.faults if fault.signed_out))
            return
        stamp.set_content(_heading(visit, found))
        alerts.set_content(_alerts(visit, found))
        if found.stats is None:
            return
        tiles.set_content(_tiles(found))
        rows = found.stats["rows"]
        _draw(curves, paths_over_time(rows, found.stats, dark=visit.dark))
        _draw(times, proof_over_time(rows, found.stats, dark=visit.dark))
        funnel.set_content(_funnel(found.stats["totals"]))
        classes.set_content(_classes(found.by_class))

    async def choose(event: Any) -> None:
        chosen["range"] = event.value
        ui.run_javascript(f"history.replaceState(null, '', '?range={event.value}')")
        await refresh()

    choice.on_value_change(choose)
    await refresh()
    ui.timer(REFRESH_S, refresh, immediate=False)


def _draw(chart: ui.echart, options: dict[str, Any]) -> None:
    chart.options.clear()
    chart.options.update(options)
    chart.update()


async def take(visit: Visit, chosen: str) -> Snapshot:
    """Asks for all of it at once; what fails is left out and named."""
    length, step = RANGES[chosen]
    now = datetime.now(UTC)
    span = {"from": _written(now - length), "to": _written(now)}
    before = {"from": _written(now - 2 * length), "to": _written(now - length)}
    api, faults = visit.api, []

    async def ask(question: Awaitable[Any]) -> Any:
        try:
            return await question
        except ApiError as error:
            if error.status not in {403, 404}:
                faults.append(error)
            return None

    stats, earlier, by_class, books, providers, day, strategy = await asyncio.gather(
        ask(api.get("/v1/stats", **span, by="time", step=step)),
        ask(api.get("/v1/stats", **before)),
        ask(api.get("/v1/stats", **span, by="class")),
        ask(api.get("/v1/books")),
        ask(api.get("/v1/providers")),
        ask(api.get("/v1/stats")),
        ask(api.get("/v1/strategies/default")),
    )
    budget = ((strategy or {}).get("limits") or {}).get("sms", {}).get("budget")
    return Snapshot(
        stats=stats,
        earlier=earlier,
        by_class=by_class,
        books=books,
        providers=providers,
        day=day,
        budget=budget,
        faults=tuple(faults),
    )


def _written(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _heading(visit: Visit, found: Snapshot) -> Markup:
    as_of = found.stats.get("as_of") if found.stats else None
    note = join("Live, as of ", time_tag(as_of, visit.zone)) if as_of else "Waiting for the API"
    return el("div", el("h1", "Overview"), el("p", note, class_="page-note"), class_="page-head")


def _alerts(visit: Visit, found: Snapshot) -> Markup:
    lines: list[Any] = [problem_box(error) for error in found.faults[:1]]
    for provider in (found.providers or {}).get("providers", ()):
        name = path_name(provider["path"])
        link = el("a", "Providers", href="/providers")
        if provider["circuit"] == "open":
            since = join(" since ", time_tag(provider.get("since"), visit.zone)) if provider.get("since") else None
            lines.append(
                _alert("bad", el("strong", f"{name}: circuit open"), since, provider.get("reason") or "", link)
            )
        elif provider["circuit"] == "half_open":
            lines.append(
                _alert("warn", el("strong", f"{name}: being probed back in"), provider.get("reason") or "", link)
            )
        if provider.get("paused"):
            lines.append(_alert("warn", el("strong", f"{name}: paused"), provider.get("reason") or "", link))
    if found.books is not None and not found.books["balanced"]:
        missing = sum(abs(one.get("missing", 0)) for one in found.books["classes"].values())
        lines.append(
            _alert("bad", el("strong", "The books do not balance"), f"{number(missing)} messages are unaccounted for.")
        )
    if not lines and found.stats is not None:
        return el(
            "div", "✓", el("span", "All circuits are closed and the books balance."), class_="alert fine", role="status"
        )
    return join(lines)


def _alert(tone: str, *parts: Any) -> Markup:
    return el("div", [el("span", part) for part in parts if part], class_=f"alert tone-{tone}", role="alert")


def budget_segments(text: str | None) -> tuple[int, str] | None:
    """``20000 segments/1d`` as (20000, "1d")."""
    words = (text or "").replace("segments", "").split("/")
    if len(words) != 2 or not words[0].strip().isdigit():
        return None
    return int(words[0]), words[1].strip()


def _tiles(found: Snapshot) -> Markup:
    stats = found.stats or {}
    totals = stats["totals"]
    earlier = (found.earlier or {}).get("totals") or {}
    ends = totals.get("ends") or {}
    confirmed, settled = ends.get("confirmed", 0), totals.get("settled") or 0
    proof = totals.get("time_to_proof") or {}
    spent = _sent((found.day or {}).get("totals") or {})
    budget = budget_segments(found.budget)
    books = found.books
    return el(
        "div",
        tile("Accepted", compact(totals.get("accepted")), _change(totals.get("accepted"), earlier.get("accepted"))),
        tile("Confirmed", percent(confirmed, settled), f"{number(confirmed)} of {number(settled)} settled"),
        tile("Time to proof", seconds(proof.get("p50_s")), f"95 of 100 within {seconds(proof.get('p95_s'))}"),
        _sms_tile(spent, budget),
        tile("In flight", compact(totals.get("open")), "accepted, not settled yet"),
        tile(
            "Books",
            "–" if books is None else "Balanced" if books["balanced"] else "Off",
            "accepted = settled + in flight",
            tone="" if books is None else "good" if books["balanced"] else "bad",
        ),
        class_="tiles",
    )


def _sent(totals: Mapping[str, Any]) -> int:
    return sum((totals.get("sms_segments") or {}).values())


def _sms_tile(spent: int, budget: tuple[int, str] | None) -> Markup:
    if budget is None:
        return tile("SMS, last 24 h", compact(spent), "segments; no budget is set")
    share = spent / budget[0] if budget[0] else 1.0
    tone = "bad" if share >= 1 else "warn" if share >= 0.8 else ""
    meter = el(
        "div",
        el("i", style=f"width:{min(share, 1):.1%}"),
        class_=f"meter {tone}",
        role="meter",
        aria_label="SMS budget used",
        aria_valuenow=f"{min(share, 1) * 100:.0f}",
        aria_valuemin="0",
        aria_valuemax="100",
    )
    note = join(f"of {number(budget[0])} segments {_EACH.get(budget[1], budget[1])}", meter)
    return tile("SMS, last 24 h", compact(spent), note, tone=tone)


def _change(now: float | None, before: float | None) -> str:
    if not before or now is None:
        return "nothing in the time before"
    change = 100 * (now - before) / before
    return f"{'▲' if change >= 0 else '▼'} {abs(change):.0f} % against the time before"


def _funnel(totals: Mapping[str, Any]) -> Markup:
    accepted = totals.get("accepted") or 0
    if not accepted:
        return empty_state(
            "No messages in this range",
            join(
                "Dispatch one with ",
                el("code", "POST /v1/messages"),
                ", or try the ",
                el("a", "phone lab", href="/phone-lab"),
                ".",
            ),
        )
    told = totals.get("funnel") or {}
    ends = totals.get("ends") or {}
    stages = (
        ("Accepted", accepted),
        ("Attempted", told.get("attempted")),
        ("Delivered", told.get("delivered", ends.get("confirmed", 0))),
        ("Opened", told.get("opened")),
    )
    rows = [
        el(
            "div",
            el("span", name),
            el("div", el("div", class_="funnel-bar", style=f"width:{value / accepted:.2%}"), class_="funnel-track"),
            el("div", number(value), el("small", percent(value, accepted)), class_="funnel-figure"),
            class_="funnel-row",
        )
        for name, value in stages
        if value is not None
    ]
    return join(el("div", rows, class_="funnel"), _ends(ends), _attempts(totals.get("outcomes") or {}))


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


def _classes(by_class: Mapping[str, Any] | None) -> Markup:
    rows = [
        (
            el("a", row["class"], href=f"/deliveries?class={row['class']}"),
            number(row.get("accepted")),
            percent((row.get("ends") or {}).get("confirmed", 0), row.get("settled")),
            seconds((row.get("time_to_proof") or {}).get("p95_s")),
        )
        for row in sorted((by_class or {}).get("rows", ()), key=lambda row: -(row.get("accepted") or 0))
    ]
    return table(
        ("Class", "Accepted", "Confirmed", "p95"),
        rows,
        caption="Figures by class",
        numeric=(1, 2, 3),
        empty="No messages in this range.",
    )
