"""How each path fares: health, answers, time to receipt, brakes, quota, credentials; check, pause and resume."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import el
from dispatcher.console.patience import lively
from dispatcher.console.pieces import done, guarded, html, page_head, problem_box
from dispatcher.console.provider_view import provider_words
from dispatcher.console.words import path_name

REFRESH_S = 4.0
Switch = Callable[..., Awaitable[None]]


@dataclass(kw_only=True)
class _Card:
    """What changes in a provider's card."""

    shown: ui.html
    pause: ui.button | None = None
    resume: ui.button | None = None
    check: ui.button | None = None

    def set_switches(self, provider: Mapping[str, Any]) -> None:
        """What may be done now."""
        if self.pause is not None and self.resume is not None and self.check is not None:
            self.pause.set_visibility(not provider["paused"])
            self.resume.set_visibility(bool(provider["paused"]))
            self.check.set_visibility(provider["credentials"] is not None)


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
    cards: dict[str, _Card] = {}
    abouts: dict[str, Mapping[str, Any]] = {}

    async def switch(path: str, action: str, reason: str = "") -> None:
        body = {"reason": reason} if action == "pause" else None
        await visit.api.post(f"/v1/providers/{path}/{action}", body)
        done(f"{path_name(path)} is {'paused' if action == 'pause' else 'sending again'}.")
        await refresh()

    async def check(path: str) -> None:
        found = (await visit.api.post(f"/v1/credentials/{path}/check"))["check"]
        words = f"{path_name(path)}: {found['text']}"
        if found["well"]:
            done(words)
        else:
            ui.notify(words, type="negative", multi_line=True)
        await refresh()

    async def refresh() -> None:
        try:
            found = (await visit.api.get("/v1/providers"))["providers"]
            if visit.operator.is_admin and not abouts:
                told = (await visit.api.get("/v1/credentials"))["credentials"]
                abouts.update({each["path"]: each["about"] for each in told})
        except ApiError as error:
            away.set_content(problem_box(error))
            raise
        away.set_content("")
        for provider in found:
            path = provider["path"]
            if path not in cards:
                with frame, ui.element("section").classes("card").props(f'aria-label="{path_name(path)}"'):
                    cards[path] = _card(visit, path, switch, check)
            cards[path].shown.set_content(provider_words(provider, abouts.get(path, {}), visit.zone))
            cards[path].set_switches(provider)

    await lively(refresh, REFRESH_S)


def _card(visit: Visit, path: str, switch: Switch, check: Switch) -> _Card:
    made = _Card(shown=html("", "stack"))
    if not visit.operator.is_admin:
        return made

    async def ask() -> None:
        with ui.dialog() as dialog, ui.card().classes("dialog"):
            dialog.props(f'aria-label="Pause {path}"')
            html(el("h2", f"Pause {path_name(path)}?"))
            html(
                el(
                    "p",
                    "New plans go round it. What has no other step waits until it is resumed, or until its ttl ends.",
                )
            )
            reason = ui.input("Why (shown to your colleagues)").classes("wide")
            reason.on("keydown.enter", lambda: dialog.submit(reason.value or ""))
            with ui.row().classes("actions"):
                ui.button("Cancel", color=None, on_click=lambda: dialog.submit(None)).props("flat").classes("link")
                ui.button("Pause", on_click=lambda: dialog.submit(reason.value or "")).props(
                    "color=negative unelevated"
                )
        answer = await dialog
        dialog.delete()
        if answer is not None:
            await switch(path, "pause", answer)

    with ui.element("div").classes("line card-foot"):
        made.pause = _button(f"Pause {path}", "Pause", "pause", ask)
        made.resume = ui.button("Resume", icon="play_arrow", on_click=guarded(lambda: switch(path, "resume")))
        made.resume.props(f"unelevated dense padding='4px 12px' aria-label=\"Resume {path}\"")
        made.check = _button(f"Check credentials of {path}", "Check credentials", "key", lambda: check(path))
    return made


def _button(name: str, words: str, icon: str, action: Callable[[], Awaitable[None]]) -> ui.button:
    made = ui.button(words, icon=icon, color=None, on_click=guarded(action)).classes("link")
    made.props(f"outline dense padding='4px 12px' aria-label=\"{name}\"")
    return made
