"""One delivery: its timeline drawn to scale, the explanation in words, every event; recall."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import badge, card, confirm, done, guarded, html, page_head, path_badge, report
from dispatcher.console.story import event_list, explanation, legend, picture
from dispatcher.console.words import time_tag

_PENDING = frozenset({"open", "held", "scheduled"})


@page("/deliveries/{message_id}", title="Delivery", nav="deliveries")
async def delivery(visit: Visit) -> None:
    """Live while it is open."""
    message_id, user_id = visit.path["message_id"], visit.query.get("user_id")
    message, timeline = await _look(visit, message_id, user_id)
    own = next(row for row in message["deliveries"] if row["user_id"] == timeline["user_id"])
    page_head(message_id, back=("Deliveries", "/deliveries"))
    with ui.element("div").classes("head-row"):
        facts = html(_facts(visit, message, own))
        if visit.operator.may("send"):
            taken_back = ui.button("Recall", icon="undo", color=None).props("outline").classes("danger")
            taken_back.set_visibility(message["state"] != "recalled")

            async def take_back() -> None:
                sure = await confirm(
                    "Recall this message?",
                    "Pending steps die for all its recipients, the inbox entry goes, and phones that show it are told"
                    " to clear it. A text that has left cannot be taken back.",
                    "Recall",
                )
                if sure:
                    answer = await visit.api.post(f"/v1/messages/{quote(message_id, safe='')}/recall")
                    sent = len(answer.get("sms_sent") or ())
                    done(f"Recalled.{f' {sent} texts had left already.' if sent else ''}")
                    taken_back.set_visibility(False)
                    await refresh()

            taken_back.on_click(guarded(take_back))
    with card("What happened, to scale"):
        drawn = html(picture(timeline["events"], visit.zone, datetime.now(UTC)))
        html(legend())
    with ui.element("div").classes("grid-2"):
        with card("Every event"):
            listed = html(event_list(timeline["events"], visit.zone))
        with card("Why it went this way"):
            why = html(explanation(timeline["events"]))

    async def refresh() -> None:
        message, timeline = await _look(visit, message_id, user_id)
        own = next(row for row in message["deliveries"] if row["user_id"] == timeline["user_id"])
        facts.set_content(_facts(visit, message, own))
        drawn.set_content(picture(timeline["events"], visit.zone, datetime.now(UTC)))
        listed.set_content(event_list(timeline["events"], visit.zone))
        why.set_content(explanation(timeline["events"]))
        if own["state"] not in _PENDING and live is not None:
            live.deactivate()

    async def tick() -> None:
        try:
            await refresh()
        except ApiError as error:
            if error.signed_out:
                report(error)

    live = ui.timer(1.5, tick, immediate=False) if own["state"] in _PENDING else None


async def _look(visit: Visit, message_id: str, user_id: str | None) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    address = f"/v1/messages/{quote(message_id, safe='')}"
    message, timeline = await asyncio.gather(
        visit.api.get(address), visit.api.get(f"{address}/timeline", user_id=user_id)
    )
    return message, timeline


def _facts(visit: Visit, message: Mapping[str, Any], own: Mapping[str, Any]) -> Markup:
    parts: list[Any] = [
        badge(own["state"]),
        join("to ", el("a", own["user_id"], href=f"/users/{quote(own['user_id'], safe='')}")),
        message["class"],
        join("accepted ", time_tag(message["accepted_at"], visit.zone)),
    ]
    if own.get("confirmed_by"):
        parts.append(join("proven by ", path_badge(own["confirmed_by"])))
    if own.get("sms"):
        parts.append(join("SMS ", badge(own["sms"].get("status") or own["sms"]["state"], "quiet")))
    others = len(message["deliveries"]) - 1
    if others > 0:
        parts.append(
            el("a", f"{others} more recipients", href=f"/deliveries?message_id={quote(message['message_id'], safe='')}")
        )
    return el("div", [el("span", part) for part in parts], class_="line")
