"""One user: the profile with the number masked, every device with tokens, line and learned rates, messages of late."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote, urlencode

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pages.deliveries import delivery_address
from dispatcher.console.pages.test_send import send_form
from dispatcher.console.pages.user_inbox import inbox_part
from dispatcher.console.patience import lively
from dispatcher.console.pieces import badge, card, confirm, done, guarded, html, page_head, path_badge, table
from dispatcher.console.words import ago, number, percent, seconds, time_tag

REFRESH_S = 4.0
_LATE, _PAGES = 20, 4
_NOBODY: Mapping[str, Any] = {"devices": ()}


@page("/users/{user_id}", title="User", nav="users")
async def user(visit: Visit) -> None:
    """Live: presence and messages are asked for again every few seconds."""
    user_id = visit.path["user_id"]
    profile = await _profile_of(visit, user_id)
    page_head(user_id, back=("Users & devices", "/users"))
    with ui.element("div").classes("grid-2"):
        with card("Profile"):
            html(_profile(profile) if profile else _stranger())
            _unmask(visit, {"user_id": user_id}, "Show the number", bool(profile and profile["phone"]))
        with card("Send a test message", "It goes through the real API and the live strategy."):
            if visit.operator.may("send"):
                send_form(visit, user_id)
            else:
                html(el("p", "Your role may look, not send.", class_="muted"))
    devices = await asyncio.gather(*(_device(visit, device_id) for device_id in (profile or _NOBODY)["devices"]))
    shown: list[tuple[str, ui.html]] = []
    with ui.element("div").classes("grid-even"):
        for device in devices:
            if device is None:
                continue
            with card():
                shown.append((device["device_id"], html(_device_words(visit, device), "stack")))
                _unmask(visit, {"device_id": device["device_id"]}, "Show the tokens", bool(device["tokens"]))
    if profile and not profile["devices"]:
        html(el("p", "No device: only SMS can reach this user.", class_="empty-line"), "card")
    with card("Inbox", "What this user's phones can still pull. Looking here proves nothing."):
        await inbox_part(visit, user_id)
    with card("Messages of late", "Newest first; each leads to its timeline."):
        listed = html("")
    if profile and visit.operator.may("users"):
        _erasure(visit, user_id)

    async def refresh() -> None:
        listed.set_content(await _messages(visit, user_id))

    async def refresh_devices() -> None:
        for device_id, words in shown:
            found = await _device(visit, device_id)
            if found is not None:
                words.set_content(_device_words(visit, found))

    await lively(refresh, REFRESH_S)
    ui.timer(REFRESH_S, guarded(refresh_devices), immediate=False)


def _address(user_id: str) -> str:
    return f"/v1/users/{quote(user_id, safe='')}"


async def _profile_of(visit: Visit, user_id: str) -> Mapping[str, Any] | None:
    """None: messages may wait for them, but nobody has told who they are."""
    try:
        found: Mapping[str, Any] = await visit.api.get(_address(user_id))
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    return found


def _stranger() -> Markup:
    words = "Nothing is known of this user but what was sent to them. Backends tell with "
    return el("p", words, el("code", "PUT /v1/users/{user_id}"), ", phones by registering.", class_="muted")


def _profile(profile: Mapping[str, Any]) -> Markup:
    quiet = profile.get("quiet_hours")
    consent = {True: "yes", False: "said no", None: "not said"}[profile["sms_opt_in"]]
    facts = (
        ("Number", el("span", profile["phone"] or "none", class_="mono")),
        ("Verified", "yes" if profile["phone_verified"] else "no"),
        ("SMS opt-in", consent),
        ("Locale", profile["locale"] or "–"),
        ("Time zone", profile["time_zone"] or "–"),
        ("Quiet hours", f"{quiet['from']} to {quiet['to']}" if quiet else "none"),
        ("Muted classes", ", ".join(profile["muted_classes"]) or "none"),
    )
    return el("dl", [join(el("dt", name), el("dd", value)) for name, value in facts], class_="facts")


async def _device(visit: Visit, device_id: str) -> Mapping[str, Any] | None:
    address = f"/v1/devices/{quote(device_id, safe='')}"
    try:
        found: dict[str, Any] = await visit.api.get(address)
        found["history"] = (await visit.api.get(f"{address}/tokens"))["tokens"]
    except ApiError as error:
        if error.status != 404:
            raise
        try:
            return {**await visit.api.get(address), "history": None}
        except ApiError as gone:
            if gone.status == 404:
                return None
            raise
    return found


def _device_words(visit: Visit, device: Mapping[str, Any]) -> Markup:
    presence = device["presence"]
    tokens = device["history"] if device["history"] is not None else device["tokens"]
    made = " ".join(str(device[name]) for name in ("manufacturer", "os_version") if device.get(name))
    since = join("since ", time_tag(presence["since"], visit.zone)) if presence.get("since") else ""
    head = el(
        "div",
        el("h2", device["device_id"]),
        badge(device["platform"], "quiet"),
        badge(presence["state"]),
        badge("foreground", "busy") if presence.get("foreground") else None,
        badge(
            "alerts on" if device["alerts_enabled"] else "alerts off", "good" if device["alerts_enabled"] else "warn"
        ),
        class_="line",
    )
    facts = (
        ("Line", join(presence["state"], " ", since)),
        ("Last seen", ago(device["last_seen"])),
        ("Model", made or "–"),
        ("App", device["app_version"] or "–"),
        ("Locale", device["locale"] or "–"),
        ("Time zone", device["time_zone"] or "–"),
    )
    return join(
        head,
        el("dl", [join(el("dt", name), el("dd", value)) for name, value in facts], class_="facts"),
        table(
            ("Token", "Value", "State", "Since", "Ended"),
            [_token(visit, token) for token in tokens],
            caption=f"Tokens of {device['device_id']}",
            empty="No push token: only the long connection and polling reach this device.",
        ),
        _learned(device.get("learned") or {}),
    )


def _token(visit: Visit, token: Mapping[str, Any]) -> tuple[Any, ...]:
    ended = (
        join(time_tag(token["ended_at"], visit.zone), f" {token.get('reason') or ''}") if token.get("ended_at") else "–"
    )
    where = token.get("environment") or token["kind"]
    return (
        join(path_badge(token["path"]), el("small", f" {where}", class_="muted")),
        el("span", token["value"], class_="mono"),
        badge(token["state"]),
        time_tag(token["since"], visit.zone),
        ended,
    )


def _learned(learned: Mapping[str, Mapping[str, Any]]) -> Markup:
    rows = [
        (
            path_badge(path),
            join(
                percent(rates["ack_rate"], 1) if rates["ack_rate"] is not None else "–", _from(rates["ack_rate_from"])
            ),
            join(seconds(rates["p95_s"]), _from(rates["p95_from"])),
            f"{number(round(rates['receipts'], 1))} of {number(round(rates['attempts'], 1))}",
            badge("pinned", "warn") if rates.get("pinned") else "",
        )
        for path, rates in learned.items()
    ]
    heads = ("Learned", "Proves", "95 of 100 within", "Receipts (weighed)", "")
    return table(heads, rows, caption="Learned rates", empty="Nothing is learned about this device yet.")


def _from(source: str) -> Markup | str:
    return el("small", f" ({source})", class_="muted") if source not in {"device", "none"} else ""


async def _late(visit: Visit, user_id: str) -> list[Mapping[str, Any]]:
    """The newest few. A page may be short and go on (see ``GET /v1/deliveries``), so it is followed a little."""
    found: list[Mapping[str, Any]] = []
    before: str | None = None
    for _ in range(_PAGES):
        page_ = await visit.api.get("/v1/deliveries", user_id=user_id, limit=_LATE - len(found), before=before)
        found += page_["deliveries"]
        before = page_["next"]
        if before is None or len(found) >= _LATE:
            break
    return found


async def _messages(visit: Visit, user_id: str) -> Markup:
    rows = [
        (
            el("a", row["message_id"], href=delivery_address(row["message_id"], user_id), class_="mono"),
            row["class"],
            badge(row["state"]),
            badge(row["proof"], "good" if row["proof"] != "none" else "quiet"),
            path_badge(row.get("confirmed_by")),
            time_tag(row["accepted_at"], visit.zone),
        )
        for row in await _late(visit, user_id)
    ]
    heads = ("Message", "Class", "State", "Proof", "Proven by", "Accepted")
    empty = "Nothing was sent to this user in the time kept."
    more = el("p", el("a", "All of them →", href=f"/deliveries?{urlencode({'user_id': user_id})}")) if rows else None
    return join(table(heads, rows, caption="Messages of late", stack=True, empty=empty), more)


def _unmask(visit: Visit, whom: Mapping[str, str], words: str, there: bool) -> None:
    """Admins may look at what is masked; each look is written into the audit before anything is shown."""
    if not visit.operator.is_admin or not there:
        return
    out = html("")

    async def look() -> None:
        with ui.dialog() as dialog, ui.card().classes("dialog"):
            dialog.props(f'aria-label="{words}"')
            html(el("h2", words))
            html(el("p", "This look is written into the audit with your name."))
            reason = ui.input("Reason").classes("wide")
            with ui.row().classes("actions"):
                ui.button("Cancel", color=None, on_click=lambda: dialog.submit(None)).props("flat").classes("link")
                ui.button("Show", on_click=lambda: dialog.submit(reason.value or "")).props("unelevated")
        answer = await dialog
        dialog.delete()
        if answer is None:
            return
        body = {**whom, **({"reason": answer} if answer else {})}
        found = await visit.api.post("/v1/unmask", body)
        at = f"{datetime.now(UTC).astimezone(visit.zone):%H:%M}"
        values = [found["phone"]] if found.get("phone") else [token["value"] for token in found.get("tokens") or ()]
        out.set_content(
            el("div", [el("p", el("code", value)) for value in values], el("small", f"shown at {at}"), class_="plain")
        )

    button = ui.button(words, icon="visibility", color=None, on_click=guarded(look))
    button.props("flat dense").classes("start link")


def _erasure(visit: Visit, user_id: str) -> None:
    async def erase() -> None:
        sure = await confirm(
            f"Erase {user_id} everywhere?",
            "Profile, devices, tokens, inbox and what is in flight are deleted. This cannot be undone.",
            "Erase",
            word=user_id,
        )
        if sure:
            await visit.api.delete(_address(user_id))
            done(f"{user_id} is erased.")
            ui.navigate.to("/users")

    with card("Erase this user", "For requests to be forgotten."):
        erasing = ui.button("Erase user", icon="delete_forever", color=None, on_click=guarded(erase))
        erasing.props("outline").classes("start danger")
