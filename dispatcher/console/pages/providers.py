"""How each path fares: circuit, answers by reason, time to receipt, the credentials' age; pause and resume."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import (
    badge,
    done,
    guarded,
    html,
    page_head,
    path_badge,
    problem_box,
    report,
    table,
)
from dispatcher.console.words import ago, number, percent, seconds, time_tag

REFRESH_S = 4.0
_GOOD = frozenset({"handed_over"})
_ADVICE = {
    "apns": "pushpath credentials set apns",
    "fcm": "pushpath credentials set fcm",
    "sms": "pushpath credentials set sms",
}


@page("/providers", title="Providers", nav="providers")
async def providers(visit: Visit) -> None:
    """Live. A handed-over push is no delivery: the time to receipt tells whether it arrives."""
    page_head(
        "Providers",
        "What each path answered in the last minutes, and how soon receipts proved it. A failing one takes nothing "
        "from the others.",
    )
    away = html("")
    frame = ui.element("div").classes("cards")
    parts: dict[str, tuple[ui.html, ui.button | None, ui.button | None]] = {}
    ages = await _credentials(visit)

    async def switch(path: str, action: str, reason: str = "") -> None:
        body = {"reason": reason} if action == "pause" else None
        await visit.api.post(f"/v1/providers/{path}/{action}", body)
        done(f"{path} is {'paused' if action == 'pause' else 'sending again'}.")
        await refresh()

    async def refresh() -> None:
        try:
            found = (await visit.api.get("/v1/providers"))["providers"]
        except ApiError as error:
            if error.signed_out:
                report(error)
            away.set_content(problem_box(error))
            return
        away.set_content("")
        for provider in found:
            path = provider["path"]
            if path not in parts:
                with frame, ui.element("section").classes("card"):
                    parts[path] = _card(visit, path, switch)
            shown, pause, resume = parts[path]
            shown.set_content(_words(visit, provider, ages.get(path)))
            if pause is not None and resume is not None:
                pause.set_visibility(not provider["paused"])
                resume.set_visibility(bool(provider["paused"]))

    await refresh()
    ui.timer(REFRESH_S, refresh, immediate=False)


def _card(
    visit: Visit, path: str, switch: Callable[..., Awaitable[None]]
) -> tuple[ui.html, ui.button | None, ui.button | None]:
    shown = html("", "stack")
    if not visit.operator.is_admin:
        return shown, None, None

    async def ask() -> None:
        with ui.dialog() as dialog, ui.card().classes("dialog"):
            dialog.props(f'aria-label="Pause {path}"')
            html(el("h2", f"Pause {path}?"))
            html(
                el(
                    "p",
                    "New plans go round it. What has no other step waits until it is resumed, or until its ttl ends.",
                )
            )
            reason = ui.input("Why (shown to your colleagues)").classes("wide")
            with ui.row().classes("actions"):
                ui.button("Cancel", color=None, on_click=lambda: dialog.submit(None)).props("flat").classes("link")
                ui.button("Pause", on_click=lambda: dialog.submit(reason.value or "")).props(
                    "color=negative unelevated"
                )
        answer = await dialog
        dialog.delete()
        if answer is not None:
            await switch(path, "pause", answer)

    with ui.element("div").classes("line"):
        pause = ui.button("Pause", icon="pause", color=None, on_click=guarded(ask)).classes("link")
        pause.props("outline dense padding='4px 12px'")
        resume = ui.button("Resume", icon="play_arrow", on_click=guarded(lambda: switch(path, "resume")))
        resume.props("unelevated dense padding='4px 12px'")
    pause.props(f'aria-label="Pause {path}"')
    resume.props(f'aria-label="Resume {path}"')
    return shown, pause, resume


async def _credentials(visit: Visit) -> dict[str, Mapping[str, Any]]:
    if not visit.operator.is_admin:
        return {}
    found = await visit.api.get("/v1/credentials")
    return {each["path"]: each for each in found["credentials"]}


def _words(visit: Visit, provider: Mapping[str, Any], credentials: Mapping[str, Any] | None) -> Markup:
    answers = provider["answers"]
    total = sum(answers.values())
    good = sum(count for outcome, count in answers.items() if outcome in _GOOD)
    state = [badge(provider["circuit"], label=f"circuit {provider['circuit'].replace('_', ' ')}")]
    if provider["paused"]:
        state.append(badge("paused", "warn"))
    if not provider["configured"]:
        state.append(badge("none", "quiet", label="no credentials"))
    why = join(provider["reason"], " ") if provider.get("reason") else ""
    since = join("since ", time_tag(provider["since"], visit.zone)) if provider.get("since") else ""
    window = seconds(float(provider["window_s"]))
    facts: list[tuple[str, Any]] = [
        ("Answers", f"{number(total)} in {window}"),
        ("Handed over", percent(good, total)),
        (
            "To receipt",
            f"{seconds(provider['receipt_s'])}, 95 of 100 within {seconds(provider.get('receipt_p95_s'))}"
            if provider.get("receipt_s") is not None
            else "no receipts in this time",
        ),
    ]
    facts += _credential_facts(provider, credentials)
    reasons = [
        (badge(each["outcome"]), el("code", each["reason"]), number(each["count"])) for each in provider["reasons"][:8]
    ]
    plain_answers = [(badge(outcome), "", number(count)) for outcome, count in answers.items()] if not reasons else []
    name = f" ({provider['name']})" if provider["name"] != provider["path"] else ""
    return join(
        el("h2", path_badge(provider["path"]), el("span", name, class_="muted"), class_="line"),
        el("div", state, class_="line"),
        el("p", why, since, class_="small") if why or since else None,
        el("dl", [join(el("dt", key), el("dd", value)) for key, value in facts], class_="facts"),
        table(
            ("Outcome", "Reason", "Count"),
            reasons or plain_answers,
            caption=f"Answers of {provider['path']}",
            numeric=(2,),
            empty="No attempts in this time.",
        ),
    )


def _credential_facts(provider: Mapping[str, Any], credentials: Mapping[str, Any] | None) -> list[tuple[str, Any]]:
    path = provider["path"]
    if path not in _ADVICE:
        return []
    if credentials is None:
        return [] if provider["configured"] else [("Credentials", join("set them with ", el("code", _ADVICE[path])))]
    about = ", ".join(f"{name} {value}" for name, value in (credentials.get("about") or {}).items())
    check = "in use; answers above are its check" if provider["answers"] else "not used in this time"
    return [
        ("Credentials", f"set {ago(credentials['changed_at'])}"),
        ("About", about or "–"),
        ("Check", "rejected by the provider" if _refused(provider) else check),
    ]


def _refused(provider: Mapping[str, Any]) -> bool:
    """Whether the provider's answers say that it does not know these credentials."""
    signs = ("auth", "credential", "token_provider", "providertoken", "permission", "20003")
    return any(
        any(sign in str(each["reason"]).lower() for sign in signs) and each["outcome"] != "token_dead"
        for each in provider["reasons"]
    )
