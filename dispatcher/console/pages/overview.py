"""Whether messages arrive, in five seconds: figures, paths over time, the funnel, the books, what is wrong now."""

import asyncio
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.charts import paths_over_time, proof_over_time
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.patience import lively
from dispatcher.console.pieces import card, html
from dispatcher.console.summary import Budget, Snapshot, alerts, classes, funnel, read_budget, spent, tiles
from dispatcher.console.words import read_length, time_tag

#: What can be looked at: (length, step of the curves). The API answers with 200 steps at most.
RANGES: Mapping[str, tuple[timedelta, str]] = {
    "15m": (timedelta(minutes=15), "1m"),
    "1h": (timedelta(hours=1), "1m"),
    "3h": (timedelta(hours=3), "1m"),
    "24h": (timedelta(days=1), "1h"),
    "7d": (timedelta(days=7), "1h"),
    "30d": (timedelta(days=30), "1d"),
}
REFRESH_S = 5.0
#: Minutes are kept three days; longer budgets are added up by the hour.
_BY_MINUTES = timedelta(days=2)


@page("/", title="Overview", nav="overview")
async def overview(visit: Visit) -> None:
    """Live: asks again every five seconds while the page is looked at."""
    chosen = {"range": visit.query.get("range", "1h") if visit.query.get("range") in RANGES else "1h"}
    with ui.element("div").classes("head-row"):
        stamp = html(_heading(visit, None))
        choice = ui.toggle(list(RANGES), value=chosen["range"]).props(
            'unelevated dense padding="4px 12px" no-caps aria-label="Time range"'
        )
    wrong = html("", "alerts")
    figures = html("", "figures")
    with ui.element("div").classes("grid-2"):
        with card("Proven by path", "Confirmed messages by the path that proved them, by when they were accepted."):
            curves = (
                ui.echart({}).classes("chart").props('role="img" aria-label="Confirmed messages by path over time"')
            )
        with card("From accepted to opened"):
            stages = html("", "stack")
    with ui.element("div").classes("grid-2"):
        with card("Time to proof", "From accepted to the first receipt."):
            times = ui.echart({}).classes("chart low").props('role="img" aria-label="Time to proof over time"')
        with card("By class"):
            by_class = html("")

    async def refresh() -> None:
        asked = chosen["range"]
        found = await take(visit, asked)
        ended = next((fault for fault in found.faults if fault.signed_out), None)
        if ended is not None:
            raise ended
        if asked != chosen["range"]:
            return  # another range was chosen meanwhile
        stamp.set_content(_heading(visit, (found.stats or {}).get("as_of")))
        wrong.set_content(alerts(found, visit.zone))
        if found.stats is None:
            return
        figures.set_content(tiles(found))
        _draw(curves, paths_over_time(found.stats, dark=visit.dark))
        _draw(times, proof_over_time(found.stats, dark=visit.dark))
        stages.set_content(funnel(found.stats["totals"]))
        by_class.set_content(classes(found.by_class))

    async def choose(event: Any) -> None:
        chosen["range"] = event.value
        ui.run_javascript(f"history.replaceState(null, '', '?range={event.value}')")
        await refresh()

    choice.on_value_change(choose)
    await lively(refresh, REFRESH_S)


def _draw(chart: ui.echart, options: dict[str, Any]) -> None:
    chart.options.clear()
    chart.options.update(options)
    chart.update()


async def take(visit: Visit, chosen: str) -> Snapshot:
    """Asks for all of it at once; what fails is left out and named."""
    length, step = RANGES[chosen]
    now = datetime.now(UTC)
    span: dict[str, Any] = {"from": _written(now - length), "to": _written(now)}
    before: dict[str, Any] = {"from": _written(now - 2 * length), "to": _written(now - length)}
    api, faults = visit.api, []

    async def ask(question: Awaitable[Any]) -> Any:
        try:
            return await question
        except ApiError as error:
            if error.status not in {403, 404}:
                faults.append(error)
            return None

    stats, earlier, by_class, books, providers, budget = await asyncio.gather(
        ask(api.get("/v1/stats", **span, by="time", step=step)),
        ask(api.get("/v1/stats", **before)),
        ask(api.get("/v1/stats", **span, by="class")),
        ask(api.get("/v1/books")),
        ask(api.get("/v1/providers")),
        ask(_budget(visit, now)),
    )
    return Snapshot(
        stats=stats,
        earlier=earlier,
        by_class=by_class,
        books=books,
        providers=providers,
        budget=budget,
        faults=tuple(faults),
    )


async def _budget(visit: Visit, now: datetime) -> Budget | None:
    """What the app may spend on SMS by its default strategy, and what it spent in that window up to now."""
    document = await visit.api.get("/v1/strategies/default")
    budget = read_budget(((document.get("limits") or {}).get("sms") or {}).get("budget"))
    window = read_length(budget.window) if budget is not None else None
    if budget is None or window is None:
        return None
    step = "1m" if window <= _BY_MINUTES else None
    since: dict[str, Any] = {"from": _written(now - window)}
    found = await visit.api.get("/v1/stats", **since, step=step)
    return replace(budget, spent=spent(found["totals"]))


def _written(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _heading(visit: Visit, as_of: str | None) -> Markup:
    note = join("Live, as of ", time_tag(as_of, visit.zone), f" ({visit.zone.key})") if as_of else "Asking the API …"
    return el("div", el("h1", "Overview"), el("p", note, class_="page-note"), class_="page-head")
