"""One strategy: edit, try, publish, compare, go back. The text under work is shared by the tabs of the page."""

from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import el
from dispatcher.console.pages.strategies import starter
from dispatcher.console.pages.strategy_editor import editor_tab
from dispatcher.console.pages.strategy_rollout import rollout_tab
from dispatcher.console.pages.strategy_trial import trial_tab
from dispatcher.console.pages.strategy_versions import versions_tab
from dispatcher.console.pieces import badge, html, page_head
from dispatcher.console.work import Work

_TABS = ("edit", "try", "rollout", "versions")
_WORDS = {"edit": "Edit", "try": "Try it", "rollout": "Rollout", "versions": "Versions & audit"}


@page("/strategies/{name}", title="Strategy", nav="strategies")
async def strategy(visit: Visit) -> None:
    """The tab stands in the address."""
    work = await load(visit, visit.path["name"])
    page_head(work.name, back=("Strategies", "/strategies"))
    words = {"draft": "a draft is open", "published": "as it is live", "new": "not stored yet"}[work.origin]
    html(
        el(
            "div",
            badge(
                "draft" if work.origin == "draft" else "live",
                "warn" if work.origin == "draft" else "quiet",
                label=words,
            ),
            class_="line",
        )
    )
    first = visit.query["tab"] if visit.query.get("tab") in _TABS else "edit"
    with ui.tabs().props('align="left" no-caps inline-label aria-label="Parts of this strategy"') as tabs:
        for tab in _TABS:
            ui.tab(tab, label=_WORDS[tab])
    tabs.set_value(first)
    tabs.on_value_change(lambda event: ui.run_javascript(f"history.replaceState(null, '', '?tab={event.value}')"))
    with ui.tab_panels(tabs, value=first, animated=False, keep_alive=True).classes("wide"):
        with ui.tab_panel("edit"):
            await editor_tab(visit, work, tabs)
        with ui.tab_panel("try"):
            await trial_tab(visit, work)
        with ui.tab_panel("rollout"):
            await rollout_tab(visit, work)
        with ui.tab_panel("versions"):
            await versions_tab(visit, work)


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
