"""Try it: what the text under work decides for given facts or a device, and what it makes of recorded traffic."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import yaml
from nicegui import ui

from dispatcher.console.api import Api, ApiError, error_from
from dispatcher.console.charts import old_and_new
from dispatcher.console.facts import facts_of_device, facts_text, read_facts
from dispatcher.console.frame import Visit
from dispatcher.console.ladder import rungs
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pages.deliveries import delivery_address
from dispatcher.console.pieces import card, html, problem_box, report, table, tile
from dispatcher.console.words import number, path_name, percent, seconds
from dispatcher.console.work import Work

#: How long the API may say nothing: a line of progress is due twice a second.
PATIENCE_S = 30.0
_WINDOWS = {"1h": "Last hour", "6h": "Last 6 hours", "24h": "Last 24 hours", "168h": "Last 7 days"}
_SAMPLES = {1000: "1,000 deliveries", 10000: "10,000 deliveries", 100000: "100,000 deliveries", 1: "All of them"}


async def trial_tab(visit: Visit, work: Work) -> None:
    """Uses the text as it stands in the editor, stored or not."""
    with ui.element("div").classes("grid-even"):
        with card("On facts or a device", "Which rule matches, and which ladder follows. Nothing is sent."):
            await _on_facts(visit, work)
        with card("On recorded traffic", "The same engine over what was planned then: what is live against this text."):
            _on_traffic(visit, work)


async def _on_facts(visit: Visit, work: Work) -> None:
    catalogue = (await visit.api.get("/v1/facts"))["facts"]
    with ui.row().classes("line"):
        device = ui.input("Device id", placeholder="to take its facts").props("dense outlined")
        klass = ui.input("Class", value="chat").props("dense outlined")
        fill = ui.button("Take its facts", color=None).props("outline").classes("link")
    editor = ui.codemirror(
        facts_text({fact["name"]: fact["sample"] for fact in catalogue}),
        language="YAML",
        theme="vscodeDark" if visit.dark else "vscodeLight",
        indent="  ",
    ).classes("editor low")
    editor.props('aria-label="Facts"')
    run = ui.button("Decide", icon="play_arrow").props("unelevated").classes("start")
    out = html("")

    async def take() -> None:
        try:
            facts = await facts_of_device(visit.api, device.value.strip(), klass.value.strip() or "chat")
        except ApiError as error:
            if error.status == 404:
                ui.notify(f"There is no device {device.value.strip()}.", type="warning")
                return
            report(error)
            return
        editor.set_value(facts_text(facts))
        await decide()

    async def decide() -> None:
        try:
            answer = await visit.api.post(
                "/v1/strategies/simulate", {"strategy": work.text, "facts": read_facts(editor.value)}
            )
        except yaml.YAMLError as error:
            out.set_content(el("div", f"The facts cannot be read: {error}", class_="problem", role="alert"))
            return
        except ApiError as error:
            out.set_content(problem_box(error))
            return
        out.set_content(decision(answer))

    fill.on_click(take)
    device.on("keydown.enter", take)
    run.on_click(decide)


def decision(answer: Mapping[str, Any]) -> Markup:
    """The rule, its ladder and the words for it."""
    said = str(answer["words"]).split("\n")
    return el(
        "div",
        el("p", "Rule ", el("strong", answer["rule"]), " matches."),
        rungs(answer["ladder"]),
        el("p", said[0][:1].upper() + said[0][1:] + "."),
        el("ul", [el("li", line.strip()) for line in said[1:]]),
        class_="words",
        role="status",
    )


def _on_traffic(visit: Visit, work: Work) -> None:
    with ui.row().classes("line"):
        window = ui.select(_WINDOWS, value="24h", label="Window").props("dense outlined").classes("choice")
        sample = ui.select(_SAMPLES, value=10000, label="At most").props("dense outlined").classes("choice")
        price = (
            ui.number("Price a segment", value=0.05, min=0, step=0.01, format="%.3f")
            .props("dense outlined")
            .classes("choice")
        )
    with ui.row().classes("line"):
        run = ui.button("Compare", icon="play_arrow").props("unelevated")
        cancel = ui.button("Cancel", color=None).props("outline").classes("link")
    progress = ui.linear_progress(value=0, show_value=False).props('aria-label="Deliveries compared"')
    status = html("")
    out = ui.element("div").classes("stack")
    running: dict[str, asyncio.Task[Any]] = {}

    async def compare() -> None:
        until = datetime.now(UTC)
        since = until - timedelta(hours=int(window.value.removesuffix("h")))
        body = {
            "strategy": work.text,
            "since": since.isoformat(),
            "until": until.isoformat(),
            "sample": sample.value,
            "segment_price": price.value or 0,
        }
        began = time.monotonic()
        running["task"] = task = asyncio.create_task(compared(visit.api, body, told))
        busy(on=True)
        out.clear()
        try:
            answer = await task
        except asyncio.CancelledError:
            say("Cancelled. Nothing was changed.")
            return
        except ApiError as error:
            status.set_content(problem_box(error))
            return
        finally:
            busy(on=False)
        say(f"{number(answer['decisions'])} decisions in {seconds(time.monotonic() - began)}.")
        with out:
            comparison(visit, answer)

    def told(done: int, total: int) -> None:
        progress.set_value(done / total if total else 0)
        progress.props(add="" if total else "indeterminate", remove="indeterminate" if total else "")
        say(f"{number(done)} of {number(total)} deliveries …" if total else "Waiting for its turn …")

    def say(words: str) -> None:
        status.set_content(el("p", words, role="status", class_="muted"))

    def stop() -> None:
        if "task" in running:
            running["task"].cancel()

    def busy(*, on: bool) -> None:
        run.set_enabled(not on)
        cancel.set_visibility(on)
        progress.set_visibility(on)
        if on:
            told(0, 0)
            say("Begun …")

    busy(on=False)
    run.on_click(compare)
    cancel.on_click(stop)
    ui.context.client.on_delete(stop)  # the page was left


async def compared(api: Api, body: Mapping[str, Any], told: Callable[[int, int], None]) -> Mapping[str, Any]:
    """The answer; *told* hears how far it is. Cancelling hangs up, which ends the work in the API too."""
    async with aclosing(api.lines("/v1/strategies/simulate", body, patience_s=PATIENCE_S)) as lines:
        async for line in lines:
            if "result" in line:
                found: Mapping[str, Any] = line["result"]
                return found
            if "problem" in line:
                raise error_from(int(line["problem"].get("status", 500)), line["problem"])
            told(line["done"], line["total"])
    raise ApiError(0, "unreachable", "The answer ended early.")


def comparison(visit: Visit, answer: Mapping[str, Any]) -> None:
    """Old against new: figures, rules, paths, and the cases that change most."""
    if not answer["decisions"]:
        html(
            el(
                "p",
                "No recorded traffic in this window would be planned by this strategy. Widen the window, or send some.",
                class_="empty-line",
            )
        )
        return
    html(_tiles(answer))
    for title, rows, name in (
        ("By rule (decisions)", answer["rules"], "name"),
        ("By path (attempts)", answer["paths"], "path"),
    ):
        shown = [row for row in rows if name == "name" or row["old"] or row["new"]]
        names = [path_name(row[name]) if name == "path" else row[name] for row in shown]
        html(el("h3", title))
        chart = ui.echart(
            old_and_new(names, [row["old"] for row in shown], [row["new"] for row in shown], dark=visit.dark)
        )
        chart.style(f"width:100%;height:{70 + 34 * len(shown)}px").props(
            f'role="img" aria-label="{title}, live against draft"'
        )
    html(el("h3", "What changes most"))
    html(
        table(
            ("Message", "User", "Live", "Draft"),
            [_change(row) for row in answer["changes"][:10]],
            caption="Cases that change most",
            empty="No case changes.",
        )
    )


def _tiles(answer: Mapping[str, Any]) -> Markup:
    def both(title: str, key: str, write: Any = number) -> Markup:
        pair = answer[key]
        return tile(title, write(pair["new"]), f"live: {write(pair['old'])}")

    proof = answer["time_to_proof_s"]
    total = answer.get("deliveries") or answer["decisions"]
    return el(
        "div",
        tile(
            "Confirmed",
            percent(answer["confirmed"]["new"], total),
            f"live: {percent(answer['confirmed']['old'], total)}",
        ),
        both("SMS segments", "sms_segments"),
        both("SMS held by limits", "sms_limited"),
        tile("Cost", f"{answer['cost']['new']:,.2f}", f"live: {answer['cost']['old']:,.2f}"),
        tile("Proof, p95", seconds(proof["new"]["p95"]), f"live: {seconds(proof['old']['p95'])}"),
        class_="tiles",
    )


def _change(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return (
        el("a", row["message_id"], href=delivery_address(row["message_id"], row["user_id"]), class_="mono")
        if row["message_id"]
        else "–",
        row["user_id"] or "–",
        _side(row["old"]),
        _side(row["new"]),
    )


def _side(side: Mapping[str, Any]) -> Markup:
    rules = side.get("rules") or [track.get("rule") for track in side.get("tracks", ())]
    parts: list[Any] = [el("strong", ", ".join(str(rule) for rule in rules if rule) or str(side.get("rule", "–")))]
    if side.get("sms_segments"):
        parts.append(
            el(
                "small",
                f" {side['sms_segments']} SMS segment{'s' if side['sms_segments'] != 1 else ''},",
                class_="muted",
            )
        )
    if side.get("sms_limited"):
        parts.append(el("small", f" SMS held: {side['sms_limited']},", class_="muted"))
    proven = side.get("proven_s", side.get("time_to_proof_s"))
    parts.append(el("small", f" proven in {seconds(proven)}" if proven is not None else " not proven", class_="muted"))
    return join(parts)
