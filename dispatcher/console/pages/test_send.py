"""Send a test message through the real API, and watch it climb its ladder."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit
from dispatcher.console.markup import el, join
from dispatcher.console.pages.deliveries import delivery_address
from dispatcher.console.pieces import badge, guarded, html, report
from dispatcher.console.story import event_list, picture

WATCH_S = 1.0
_PENDING = frozenset({"open", "held", "scheduled"})
_CLASSES = ("chat", "otp", "call", "transactional", "alert", "campaign")


def send_form(visit: Visit, user_id: str | Callable[[], str | None]) -> None:
    """The fields, the button, and below it the story of the last message sent."""
    with ui.element("div").classes("line"):
        klass = ui.select(list(_CLASSES), value="chat", label="Class").props("dense outlined").classes("choice")
        priority = ui.select(["high", "normal", "low"], value="high", label="Priority").props("dense outlined")
        priority.classes("choice")
        ttl = ui.select(["1m", "10m", "1h", "24h"], value="10m", label="Ttl").props("dense outlined").classes("choice")
    title = ui.input("Title", value="Wang").props("dense outlined").classes("wide")
    body = ui.input("Text", value="Are you there?").props("dense outlined").classes("wide")
    send = ui.button("Send", icon="send").props("unelevated").classes("start")
    out = html("", "stack")
    following: dict[str, str] = {}

    async def dispatch() -> None:
        whom = user_id() if callable(user_id) else user_id
        if not whom:
            ui.notify("Add a phone, or choose a user first.", type="warning")
            return
        message_id = f"test-{datetime.now(UTC):%H%M%S}-{secrets.token_hex(3)}"
        message = {
            "message_id": message_id,
            "to": {"user_ids": [whom]},
            "class": klass.value,
            "notification": {"title": title.value, "body": body.value},
            "data": {"conversation_id": message_id},
            "priority": priority.value,
            "ttl": ttl.value,
        }
        await visit.api.post("/v1/messages", message)
        following.update(message_id=message_id, user_id=whom)
        await watch()
        timer.activate()

    async def watch() -> None:
        if not following:
            return
        message_id, whom = following["message_id"], following["user_id"]
        address = f"/v1/messages/{quote(message_id, safe='')}"
        try:
            message = await visit.api.get(address)
            events = (await visit.api.get(f"{address}/timeline", user_id=whom))["events"]
        except ApiError as error:
            if error.signed_out:
                report(error)
            return
        out.set_content(_story(visit, message, events, delivery_address(message_id, whom)))
        if message["state"] not in _PENDING:
            timer.deactivate()

    send.on_click(guarded(dispatch))
    title.on("keydown.enter", guarded(lambda _=None: dispatch()))
    body.on("keydown.enter", guarded(lambda _=None: dispatch()))
    timer = ui.timer(WATCH_S, watch, active=False)


def _story(visit: Visit, message: dict[str, Any], events: list[dict[str, Any]], address: str) -> str:
    return join(
        el(
            "div",
            el("strong", message["message_id"]),
            badge(message["state"]),
            el("a", "Whole story", href=address),
            class_="line",
        ),
        picture(events, visit.zone, datetime.now(UTC)),
        event_list(events, visit.zone),
    )
