"""The editor: YAML with faults at their lines as one types, the fact catalogue beside it, each ladder drawn."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import background_tasks, ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit
from dispatcher.console.ladder import ladders, read_document
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import badge, card, done, guarded, html, report
from dispatcher.console.words import plain
from dispatcher.console.work import Work

#: How long the typist must pause before the text is checked.
PAUSE_S = 0.3


async def editor_tab(visit: Visit, work: Work, tabs: ui.tabs) -> None:
    """Checks while typing; storing keeps the draft, guarded by its ETag."""
    may_edit = visit.operator.may("strategies")
    checks = Checks(visit, work)
    with ui.element("div").classes("grid-2"):
        with card():
            with ui.element("div").classes("line"):
                checks.state = html("")
                ui.element("div").classes("grow")
                if may_edit:
                    save = ui.button("Store draft", icon="save").props("unelevated")
                    ui.button("Go on: try it", color=None, on_click=lambda: tabs.set_value("try")).props(
                        "flat"
                    ).classes("link")
            checks.editor = ui.codemirror(
                work.text,
                language="YAML",
                theme="vscodeDark" if visit.dark else "vscodeLight",
                indent="  ",
                line_wrapping=True,
                on_change=lambda event: checks.typed(event.value),
            ).classes("editor")
            checks.editor.props('aria-label="Strategy document"')
            if not may_edit:
                checks.editor.disable()
            checks.faults = html("")
        with card("Facts", "What a rule's when and a step's if may look at. Click to insert at the cursor."):
            await _facts(visit, checks.editor)
    with card(
        "Ladders",
        "Rules are asked from top to bottom; the first that matches wins. Each step waits for proof before the next.",
    ):
        checks.drawn = html("")
    await checks.check()
    if may_edit:

        async def store() -> None:
            await store_draft(visit, work)
            done("The draft is stored. It goes live when it is published.")
            await checks.check()

        save.on_click(guarded(store))
        checks.editor.map_key("Mod-s", guarded(lambda _=None: store()))


async def store_draft(visit: Visit, work: Work) -> None:
    """Raises ApiError: 422 with the faults, 412 where somebody was faster."""
    headers = {"If-Match": work.etag} if work.etag else {}
    reply = await visit.api.call(
        "PUT", f"/v1/strategies/{quote(work.name, safe='')}/draft", text=work.text, headers=headers
    )
    work.etag, work.stored, work.origin = reply.headers.get("etag"), work.text, "draft"


class Checks:
    """Asks the API about the text after each pause; only the newest answer is shown."""

    def __init__(self, visit: Visit, work: Work) -> None:
        self._visit = visit
        self._work = work
        self._turn = 0
        self.editor: ui.codemirror
        self.state: ui.html
        self.faults: ui.html
        self.drawn: ui.html
        self.valid = False

    def typed(self, text: str) -> None:
        """The text changed."""
        self._work.text = text
        self._turn += 1
        background_tasks.create(self._after_pause(self._turn), name="check the document")

    async def _after_pause(self, turn: int) -> None:
        await asyncio.sleep(PAUSE_S)
        if turn == self._turn:
            with self.editor:
                await self.check()

    async def check(self) -> None:
        """Marks every fault at its line; draws the ladders of a valid text."""
        turn, text = self._turn, self._work.text
        try:
            answer = (await self._visit.api.call("POST", "/v1/strategies/validate", text=text)).json()
        except ApiError as error:
            if error.signed_out:
                report(error)
            self.state.set_content(badge("away", "warn", label=error.sentence()))
            return
        if turn != self._turn:
            return
        self.valid = answer["valid"]
        self._mark(text, answer["errors"])
        stored = "stored" if not self._work.changed else "not stored yet"
        if self.valid:
            self.state.set_content(
                join(badge("valid", "good"), " ", badge(stored, "quiet" if stored == "stored" else "warn"))
            )
            self.drawn.set_content(ladders(read_document(text) or {}))
        else:
            count = len(answer["errors"])
            self.state.set_content(badge("invalid", "bad", label=f"{count} fault{'s' if count > 1 else ''}"))

    def _mark(self, text: str, faults: Sequence[Mapping[str, Any]]) -> None:
        self.editor.decorations = decorations(text, faults)
        self.editor.line_tooltips = {line_of(text, fault): fault["message"] for fault in faults}
        self.faults.set_content(
            el(
                "ul",
                [
                    el("li", el("strong", f"Line {fault['line']}, column {fault['column']}: "), fault["message"])
                    for fault in faults
                ],
                class_="faults",
                role="alert",
            )
            if faults
            else ""
        )


def line_of(text: str, fault: Mapping[str, Any]) -> int:
    """A line that the text has."""
    return max(1, min(int(fault["line"]), text.count("\n") + 1))


def decorations(text: str, faults: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Each fault's line tinted, its message behind the end of the line."""
    lines = text.split("\n")
    made: list[dict[str, Any]] = []
    for line in sorted({line_of(text, fault) for fault in faults}):
        message = next(fault["message"] for fault in faults if line_of(text, fault) == line)
        end = sum(len(each) + 1 for each in lines[: line - 1]) + len(lines[line - 1])
        shown = message if len(message) <= 90 else message[:87] + "…"
        made.append({"kind": "line", "line": line, "class": "fault-line"})
        made.append({"kind": "widget", "position": end, "text": f"  ← {shown}", "class": "fault-note"})
    return made


async def _facts(visit: Visit, editor: ui.codemirror) -> None:
    """The catalogue; the page's script inserts and narrows, so that neither waits for the network."""
    catalogue = (await visit.api.get("/v1/facts"))["facts"]
    html(
        join(
            el("label", "Find a fact", for_="find-fact", class_="sr-only"),
            el(
                "input",
                id="find-fact",
                type="search",
                placeholder="Find a fact",
                autocomplete="off",
                class_="fact-find",
            ),
            el(
                "div",
                [_fact(fact) for fact in catalogue],
                class_="side",
                role="group",
                aria_label="Facts",
                data_editor=editor.id,
            ),
        )
    )


def _fact(fact: Mapping[str, Any]) -> Markup:
    values = f" One of {', '.join(fact['values'])}." if fact.get("values") else ""
    late = " Known at the step only." if fact.get("known") == "step" else ""
    return el(
        "button",
        el("code", fact["name"]),
        el("span", f" {fact['type']}", class_="muted small"),
        el("small", f"{fact['description']}{values}{late} Sample: {plain(fact['sample'])}"),
        type="button",
        class_="fact",
        data_fact=fact["name"],
    )
