"""Versions with their differences, and who changed what."""

import asyncio
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.frame import Visit
from dispatcher.console.ladder import difference
from dispatcher.console.pages.strategies import audit_entries, audit_table
from dispatcher.console.pages.strategy_rollout import versions_of
from dispatcher.console.pieces import badge, card, guarded, html, table
from dispatcher.console.words import time_tag
from dispatcher.console.work import Work

NOW = "text"


async def versions_tab(visit: Visit, work: Work) -> None:
    """Any two texts against each other; the editor's counts as one."""
    address = f"/v1/strategies/{quote(work.name, safe='')}"
    versions, entries = await asyncio.gather(versions_of(visit, address), audit_entries(visit, work.name))
    with ui.element("div").classes("grid-even"):
        with card("Versions"):
            rows = [
                (
                    f"{version['version']}",
                    badge(version["state"], label=f"{version['state']} {version['percent']} %"),
                    time_tag(version["published_at"], visit.zone),
                    version["by"] or "Pushpath",
                )
                for version in versions
            ]
            html(
                table(
                    ("Version", "State", "Published", "By"),
                    rows,
                    caption="Versions",
                    empty="Nothing has been published yet.",
                )
            )
        with card("Audit"):
            html(audit_table(visit, entries))
    if not versions:
        return
    choices = {NOW: "Text in the editor", **{str(each["version"]): f"Version {each['version']}" for each in versions}}
    with card("Differences"):
        with ui.row().classes("line"):
            old = (
                ui.select(choices, value=str(versions[min(1, len(versions) - 1)]["version"]), label="From")
                .props("dense outlined")
                .classes("choice")
            )
            new = (
                ui.select(choices, value=NOW if len(versions) == 1 else str(versions[0]["version"]), label="To")
                .props("dense outlined")
                .classes("choice")
            )
        out = html("")

    async def text_of(which: str) -> str:
        if which == NOW:
            return work.text
        reply = await visit.api.call("GET", f"{address}/versions/{which}", headers={"Accept": "application/yaml"})
        return reply.text

    async def compare() -> None:
        before, after = await asyncio.gather(text_of(old.value), text_of(new.value))
        out.set_content(difference(before, after))

    old.on_value_change(guarded(lambda _=None: compare()))
    new.on_value_change(guarded(lambda _=None: compare()))
    await compare()
