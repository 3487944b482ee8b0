"""One field for whatever somebody was given: leads to the one message, user or device that it names."""

import asyncio
from collections.abc import Awaitable
from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import el, join
from dispatcher.console.pages.deliveries import delivery_address
from dispatcher.console.pages.users import user_address
from dispatcher.console.pieces import badge, empty_state, html, page_head, table


@page("/find", title="Find", nav="find")
async def find(visit: Visit) -> None:
    """Straight on where only one thing is meant, else a choice."""
    text = visit.query.get("text", "").strip()
    message, users = await asyncio.gather(
        _none_if_unknown(visit.api.get(f"/v1/messages/{quote(text, safe='')}")) if text else _nothing(),
        _none_if_unknown(visit.api.get("/v1/users", query=text, limit=20)) if text else _nothing(),
    )
    people = (users or {}).get("users", ())
    exact = next((user for user in people if text in {user["user_id"], *user["devices"]}), None)
    if message is not None and not people:
        ui.navigate.to(_story(message))
    elif message is None and (exact is not None or len(people) == 1):
        ui.navigate.to(user_address((exact or people[0])["user_id"]))
    page_head(f"Find {text}" if text else "Find")
    rows: list[tuple[Any, ...]] = []
    if message is not None:
        rows.append(("Message", el("a", message["message_id"], href=_story(message)), badge(message["state"])))
    rows += [
        (
            "User",
            el("a", user["user_id"], href=user_address(user["user_id"])),
            ", ".join(user["devices"]) or "no device",
        )
        for user in people
    ]
    if rows:
        html(table(("What", "Id", "About"), rows, caption="Found"), "card")
        return
    advice = join(
        "Write a whole message id, the beginning of a user id, a device id, or a whole number (+86…). ",
        el("a", "Search deliveries", href="/deliveries"),
        " by class, state and time.",
    )
    html(empty_state(f"Nothing is called {text}" if text else "Nothing to look for", advice, "search_off"), "card")


def _story(message: Any) -> str:
    """The one delivery, or all of them where there are several."""
    deliveries = message["deliveries"]
    if len(deliveries) == 1:
        return delivery_address(message["message_id"], deliveries[0]["user_id"])
    return f"/deliveries?message_id={quote(message['message_id'], safe='')}"


async def _none_if_unknown(question: Awaitable[Any]) -> Any:
    try:
        return await question
    except ApiError as error:
        if error.status in {404, 422}:
            return None
        raise


async def _nothing() -> None:
    return None
