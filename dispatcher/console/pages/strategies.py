"""The strategies of an app: what is live, what is drafted, who changed what."""

import asyncio
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.ladder import ladders
from dispatcher.console.markup import Markup, el
from dispatcher.console.pieces import badge, card, empty_state, html, page_head, table
from dispatcher.console.words import time_tag

_STARTER = """strategy: {name}
applies_to: [{name}]
limits:
  sms: {{per_user: 5/1d, budget: 1000 segments/1d, max_segments: 2}}
rules:
  - name: everyone
    ladder:
      - {{path: longconn, wait: 5s}}
      - {{path: push, wait: 30s}}
      - {{path: poll, wait: 30m}}
"""


@page("/strategies", title="Strategies", nav="strategies")
async def strategies(visit: Visit) -> None:
    """The list, and the changes of late."""
    found, audit = await asyncio.gather(visit.api.get("/v1/strategies"), audit_entries(visit))
    with ui.element("div").classes("head-row"):
        page_head(
            "Strategies", "Ordered rules that say which path to try, how long to wait for proof, and what comes next."
        )
        if visit.operator.may("strategies"):
            _new(visit)
    documents = await asyncio.gather(*(_document(visit, row["name"]) for row in found["strategies"]))
    if not found["strategies"]:
        html(empty_state("Nothing is live", "Make a strategy, then publish it."), "card")
    for row, document in zip(found["strategies"], documents, strict=True):
        with card():
            html(_head(visit, row, document))
            if document is not None:
                html(
                    el("details", el("summary", f"Show the {len(document.get('rules', ()))} rules"), ladders(document))
                )
    with card("Changes", "Who changed what, newest first."):
        html(audit_table(visit, audit))


async def _document(visit: Visit, name: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = await visit.api.get(f"/v1/strategies/{quote(name, safe='')}")
    except ApiError:
        return None
    return found


def _head(visit: Visit, row: Mapping[str, Any], document: Mapping[str, Any] | None) -> Markup:
    classes = (document or {}).get("applies_to")
    owns = f"classes {', '.join(classes)}" if classes else "every class that no other strategy names"
    return el(
        "div",
        el("h2", el("a", row["name"], href=f"/strategies/{quote(row['name'], safe='')}")),
        badge(row["state"], label=f"version {row['version']}, {row['percent']} %"),
        badge("draft", "warn", label="draft waits") if row["draft"] else None,
        el("span", owns, class_="muted"),
        el(
            "span",
            "published ",
            time_tag(row["published_at"], visit.zone),
            f" by {row['by'] or 'Pushpath'}",
            class_="muted",
        ),
        class_="line",
    )


def _new(visit: Visit) -> None:
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        dialog.props('aria-label="New strategy"')
        html(el("h2", "New strategy"))
        html(el("p", "It owns the classes it names; all others stay with default.", class_="muted"))
        name = ui.input(
            "Name", validation={"Write 1 to 32 of a-z, 0-9, _": lambda text: text.isidentifier() and len(text) <= 32}
        ).classes("wide")

        async def make() -> None:
            if not name.validate():
                return
            ui.navigate.to(f"/strategies/{quote(name.value, safe='')}?new=1")

        name.on("keydown.enter", make)
        with ui.row().classes("actions"):
            ui.button("Cancel", color=None, on_click=dialog.close).props("flat").classes("link")
            ui.button("Begin", on_click=make).props("unelevated")
    ui.button("New strategy", icon="add", on_click=dialog.open).props("unelevated")


def starter(name: str) -> str:
    """What a new strategy begins with: valid, and cheap."""
    return _STARTER.format(name=name)


async def audit_entries(visit: Visit, subject: str | None = None) -> list[Mapping[str, Any]]:
    """Changes of strategies, newest first; none for roles that may not read them."""
    try:
        page_ = await visit.api.get("/v1/audit", limit=200)
    except ApiError as error:
        if error.status == 403:
            return []
        raise
    return [
        entry
        for entry in page_["entries"]
        if entry["action"].startswith("strategy.")
        and subject in {None, entry["subject"], entry["subject"].partition("@")[0]}
    ]


def audit_table(visit: Visit, entries: list[Mapping[str, Any]]) -> Markup:
    """Entries with what is told about them."""
    rows = [
        (
            time_tag(entry["at"], visit.zone),
            entry["who"] or "Pushpath",
            el("code", entry["action"]),
            entry["subject"],
            ", ".join(
                f"{name} {value}"
                for name, value in entry["detail"].items()
                if not isinstance(value, dict | list) and name != "etag"
            ),
        )
        for entry in entries[:50]
    ]
    return table(
        ("When", "Who", "What", "Of", "Detail"),
        rows,
        caption="Changes of strategies",
        empty="Nothing has been changed yet.",
    )
