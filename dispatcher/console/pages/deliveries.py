"""Find one message's story: by its id, its user, its device, class, state and time."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from dispatcher.console.api import ApiError, read_time
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.patience import promptly
from dispatcher.console.pieces import badge, card, empty_state, html, page_head, path_badge, table
from dispatcher.console.words import seconds, time_tag

STATES = ("open", "confirmed", "exhausted", "expired", "suppressed", "recalled")
#: The longest a search may take. Rare states in a long time are looked for row by row; it can be cancelled.
SEARCH_S = 60.0
_ASKED = ("user_id", "device_id", "class", "state", "from", "to", "before")


@page("/deliveries", title="Deliveries", nav="deliveries")
async def deliveries(visit: Visit) -> None:
    """The search stands in the address, so it can be shared and gone back to."""
    query = visit.query
    page_head("Deliveries", "One message for one user: find it, then read what happened to it and why.")
    if query.get("message_id"):
        message_id = query["message_id"].strip()
        found = await _message(visit, message_id)
        if found is not None and len(found["deliveries"]) == 1:
            ui.navigate.to(delivery_address(message_id, found["deliveries"][0]["user_id"]))
        html(_form(query))
        html(_of_message(found, message_id), "card")
        return
    html(_form(query))
    asked = {name: query.get(name) for name in _ASKED}
    for bound in ("from", "to"):
        asked[bound] = local_moment(asked[bound], visit)
    with card():
        await promptly(
            visit.api.get("/v1/deliveries", timeout_s=SEARCH_S, **asked, limit=50),
            lambda answer: html(_list(visit, answer), "stack"),
        )


def delivery_address(message_id: str, user_id: str) -> str:
    """Where one delivery's story is."""
    return f"/deliveries/{quote(message_id, safe='')}?{urlencode({'user_id': user_id})}"


def local_moment(text: str | None, visit: Visit) -> str | None:
    """What a datetime field says (the viewer's zone, none written) as RFC 3339."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(422, "invalid", f"{text!r} is no date and time.") from None
    return (at if at.tzinfo else at.replace(tzinfo=visit.zone)).isoformat()


async def _message(visit: Visit, message_id: str) -> Mapping[str, Any] | None:
    try:
        found: Mapping[str, Any] = await visit.api.get(f"/v1/messages/{quote(message_id, safe='')}")
    except ApiError as error:
        if error.status in {404, 422}:
            return None
        raise
    return found


def _form(query: Mapping[str, str]) -> Markup:
    def text(name: str, label: str, kind: str = "text") -> Markup:
        return el(
            "label",
            el("span", label),
            el("input", name=name, type=kind, value=query.get(name, ""), autocomplete="off"),
            class_="moment" if kind == "datetime-local" else None,
        )

    chosen = query.get("state", "")
    options = [el("option", "any", value="")] + [
        el("option", state, value=state, selected=state == chosen) for state in STATES
    ]
    return el(
        "form",
        text("message_id", "Message id"),
        text("user_id", "User"),
        text("device_id", "Device"),
        text("class", "Class"),
        el("label", el("span", "State"), el("select", options, name="state")),
        text("from", "From", "datetime-local"),
        text("to", "To", "datetime-local"),
        el("button", "Search", type="submit", class_="plain-button primary"),
        el("a", "Clear", href="/deliveries", class_="plain-button"),
        method="get",
        action="/deliveries",
        class_="search",
        role="search",
        aria_label="Deliveries",
    )


def _list(visit: Visit, answer: Mapping[str, Any]) -> Markup:
    rows = [
        (
            el("a", row["message_id"], href=delivery_address(row["message_id"], row["user_id"]), class_="mono"),
            el("a", row["user_id"], href=f"/users/{quote(row['user_id'], safe='')}"),
            row["class"],
            badge(row["state"]),
            path_badge(row.get("confirmed_by")),
            seconds(_took(row)),
            row.get("rule") or "–",
            time_tag(row["accepted_at"], visit.zone),
        )
        for row in answer["deliveries"]
    ]
    more = None
    if answer.get("next"):
        onward = urlencode({**{name: text for name, text in visit.query.items() if text}, "before": answer["next"]})
        more = el("p", el("a", "Older deliveries →", href=f"/deliveries?{onward}"))
    if not rows and not more:
        searched = any(visit.query.get(name) for name in _ASKED)
        if searched:
            return empty_state(
                "Nothing matches", "Loosen the search: leave out the state or widen the time.", "search_off"
            )
        advice = join(
            "Dispatch a message with ",
            el("code", "POST /v1/messages"),
            " or from the ",
            el("a", "phone lab", href="/phone-lab"),
            ".",
        )
        return empty_state("No deliveries yet", advice)
    heads = ("Message", "User", "Class", "State", "Proven by", "Took", "Rule", "Accepted")
    return join(
        table(
            heads,
            rows,
            caption="Deliveries, newest first",
            numeric=(5,),
            stack=True,
            empty="Nothing on this page; older ones may match.",
        ),
        more,
    )


def _took(row: Mapping[str, Any]) -> float | None:
    if not row.get("confirmed_at"):
        return None
    return max((read_time(row["confirmed_at"]) - read_time(row["accepted_at"])).total_seconds(), 0.0)


def _of_message(found: Mapping[str, Any] | None, message_id: str) -> Markup:
    if found is None:
        return empty_state(
            "No such message",
            f"Nothing is kept under {message_id}. Check the id and the app chosen above.",
            "search_off",
        )
    rows = [
        (
            el("a", row["user_id"], href=delivery_address(message_id, row["user_id"])),
            badge(row["state"]),
            path_badge(row.get("confirmed_by")),
        )
        for row in found["deliveries"]
    ]
    return join(
        el("h2", f"{message_id}: {len(rows)} deliveries"),
        table(("User", "State", "Proven by"), rows, caption=f"Deliveries of {message_id}", stack=True),
    )
