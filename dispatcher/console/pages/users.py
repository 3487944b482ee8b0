"""Find people and devices: by user, by number, by device."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import badge, empty_state, html, page_head, table


@page("/users", title="Users and devices", nav="users")
async def users(visit: Visit) -> None:
    """The search stands in the address."""
    wanted = visit.query.get("query", "").strip()
    page_head("Users & devices", "The beginning of a user id, a whole phone number (+86…), or a device id.")
    html(_form(wanted))
    found = await find(visit, wanted, visit.query.get("before"))
    if len(found["users"]) == 1 and wanted and not visit.query.get("before"):
        ui.navigate.to(user_address(found["users"][0]["user_id"]))
    html(_list(found, wanted), "card")


def user_address(user_id: str) -> str:
    """Where one user's page is."""
    return f"/users/{quote(user_id, safe='')}"


@page("/devices/{device_id}", title="Device", nav="users")
async def device(visit: Visit) -> None:
    """A device's page is its user's."""
    found = await visit.api.get(f"/v1/devices/{quote(visit.path['device_id'], safe='')}")
    ui.navigate.to(user_address(found["user_id"]))


async def find(visit: Visit, wanted: str, before: str | None) -> Mapping[str, Any]:
    """A page of users."""
    try:
        found: Mapping[str, Any] = await visit.api.get("/v1/users", query=wanted, before=before, limit=50)
    except ApiError as error:
        if error.status == 422:
            return {"users": [], "next": None}
        raise
    return found


def _form(wanted: str) -> Markup:
    return el(
        "form",
        el(
            "label",
            el("span", "User, number or device"),
            el("input", name="query", type="search", value=wanted, autocomplete="off"),
        ),
        el("button", "Search", type="submit", class_="plain-button primary"),
        method="get",
        action="/users",
        class_="search short",
        role="search",
        aria_label="Users and devices",
    )


def _list(found: Mapping[str, Any], wanted: str) -> Markup:
    rows = [
        (
            el("a", user["user_id"], href=user_address(user["user_id"])),
            el("span", user["phone"] or "–", class_="mono"),
            badge("yes", "good") if user["sms_opt_in"] else badge("no" if user["sms_opt_in"] is False else "not said"),
            user["locale"] or "–",
            user["time_zone"] or "–",
            ", ".join(user["devices"]) or "none",
        )
        for user in found["users"]
    ]
    if not rows:
        if wanted:
            return empty_state("Nobody found", f"No user, number or device begins like {wanted}.", "person_search")
        words = join("Register one with ", el("code", "PUT /v1/users/{user_id}"), " or in the ")
        return empty_state("No users yet", join(words, el("a", "phone lab", href="/phone-lab"), "."), "group")
    more = None
    if found.get("next"):
        onward = urlencode({"query": wanted, "before": found["next"]})
        more = el("p", el("a", "More →", href=f"/users?{onward}"))
    heads = ("User", "Number", "SMS opt-in", "Locale", "Time zone", "Devices")
    return join(table(heads, rows, caption="Users", stack=True), more)
