"""One strategy: edit, try, publish, compare, go back. The text under work is shared by the tabs of the page."""

from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.pages.strategies import starter
from dispatcher.console.pages.strategy_editor import editor_tab
from dispatcher.console.pages.strategy_rollout import rollout_tab
from dispatcher.console.pages.strategy_trial import trial_tab
from dispatcher.console.pages.strategy_versions import versions_tab
from dispatcher.console.pieces import badge, guarded, page_head
from dispatcher.console.work import Work

_TABS = ("edit", "try", "rollout", "versions")
_WORDS = {"edit": "Edit", "try": "Try it", "rollout": "Rollout", "versions": "Versions & audit"}


@page("/strategies/{name}", title="Strategy", nav="strategies")
async def strategy(visit: Visit) -> None:
    """The tab stands in the address."""
    work = await load(visit, visit.path["name"])
    words = {"draft": "a draft is open", "published": "as it is live", "new": "not stored yet"}[work.origin]
    tone = "warn" if work.origin == "draft" else "quiet"
    page_head(work.name, badge(work.origin, tone, label=words), back=("Strategies", "/strategies"))
    first = visit.query["tab"] if visit.query.get("tab") in _TABS else "edit"
    with ui.tabs().props('align="left" no-caps inline-label aria-label="Parts of this strategy"') as tabs:
        for tab in _TABS:
            ui.tab(tab, label=_WORDS[tab])
    tabs.set_value(first)
    made: set[str] = set()
    panels: dict[str, ui.tab_panel] = {}
    with ui.tab_panels(tabs, value=first, animated=False, keep_alive=True).classes("wide"):
        for tab in _TABS:
            with ui.tab_panel(tab) as panels[tab]:
                ui.element("div")  # Quasar wants something in it

    async def show(tab: str) -> None:
        """Makes a part when it is first looked at: the page is there sooner, and asks only for what is seen."""
        if tab in made:
            return
        made.add(tab)
        panels[tab].clear()
        with panels[tab]:
            if tab == "edit":
                await editor_tab(visit, work, tabs)
            else:
                await {"try": trial_tab, "rollout": rollout_tab, "versions": versions_tab}[tab](visit, work)

    async def turn(event: Any) -> None:
        ui.run_javascript(f"history.replaceState(null, '', '?tab={event.value}')")
        await show(event.value)

    tabs.on_value_change(guarded(turn))
    await show(first)


async def load(visit: Visit, name: str) -> Work:
    """The draft, else what is live, else a first text."""
    address = f"/v1/strategies/{quote(name, safe='')}"
    for origin, suffix in (("draft", "/draft"), ("published", "")):
        try:
            reply = await visit.api.call("GET", address + suffix, headers={"Accept": "application/yaml"})
        except ApiError as error:
            if error.status != 404:
                raise
            continue
        return Work(name=name, text=reply.text, stored=reply.text, etag=reply.headers.get("etag"), origin=origin)
    return Work(name=name, text=starter(name), etag=None, origin="new")
