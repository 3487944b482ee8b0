"""A user's inbox as their phones would pull it: three windows, masked; whole for admins, which the audit keeps."""

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from dispatcher.console.frame import Visit
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pages.deliveries import delivery_address
from dispatcher.console.patience import lively
from dispatcher.console.pieces import guarded, html, table
from dispatcher.console.words import number, time_tag

REFRESH_S = 5.0
_WINDOWS = {"recent": "Last 7 days", "month": "7 to 30 days", "archive": "Older"}
_FEW, _MANY = 10, 100


async def inbox_part(visit: Visit, user_id: str) -> None:
    """Live while it is masked; a look at what messages say is one look, of one moment."""
    looking: dict[str, Any] = {"window": "recent", "limit": _FEW, "whole": False}
    with ui.element("div").classes("line"):
        window = ui.toggle(_WINDOWS, value="recent")
        window.props('unelevated dense padding="2px 10px" no-caps aria-label="Window of the inbox"')
        count = html("", "grow")
    out = html("")
    with ui.element("div").classes("line"):
        more = ui.button("Show more", color=None).props("flat dense").classes("link")
        if visit.operator.is_admin:
            whole = ui.button("Show what they say", icon="visibility", color=None)
            whole.props("flat dense").classes("link")
            whole.tooltip("Your look is written into the audit")
            whole.on_click(guarded(lambda: look(whole=True)))

    async def look(*, whole: bool = False, **wishes: Any) -> None:
        looking.update(wishes, whole=whole)
        found = await visit.api.get(
            "/v1/inbox",
            user_id=user_id,
            window=looking["window"],
            limit=looking["limit"],
            unmask="true" if whole else None,
        )
        unread = f"{number(found['unread'])} unread" if looking["window"] == "recent" else ""
        count.set_content(el("span", unread, class_="muted"))
        out.set_content(_entries(visit, user_id, found["messages"]))
        more.set_visibility(bool(found["more"]) and looking["limit"] < _MANY)

    async def refresh() -> None:
        if not looking["whole"]:
            await look()

    window.on_value_change(guarded(lambda event: look(window=event.value, limit=_FEW)))
    more.on_click(guarded(lambda _=None: look(limit=_MANY, whole=looking["whole"])))
    await lively(refresh, REFRESH_S)


def _entries(visit: Visit, user_id: str, messages: list[Mapping[str, Any]]) -> Markup:
    rows = [
        (
            el("a", entry["message_id"], href=delivery_address(entry["message_id"], user_id), class_="mono"),
            entry["class"],
            says(entry),
            time_tag(entry["sent_at"], visit.zone),
        )
        for entry in messages
    ]
    heads = ("Message", "Class", "Says", "Sent")
    return table(heads, rows, caption="Inbox", empty="Nothing waits in this window.", stack=True)


def says(entry: Mapping[str, Any]) -> Markup:
    """Title and text, or that it carries data only."""
    shown = entry.get("notification") or {}
    words = ": ".join(str(shown[name]) for name in ("title", "body") if shown.get(name))
    return el("span", words) if words else join(el("span", "data only", class_="muted"))
