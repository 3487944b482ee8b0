"""Pages do not wait for slow answers: what is not there in time is drawn when it comes, and can be cancelled."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from nicegui import background_tasks, ui

from dispatcher.console.api import ApiError
from dispatcher.console.markup import el
from dispatcher.console.pieces import html, problem_box, report

#: How long a page may wait for an answer before it is sent without; a page is to be there within 300 ms.
PROMPT_S = 0.2
Refresh = Callable[[], Awaitable[None]]
T = TypeVar("T")


async def promptly(question: Coroutine[Any, Any, T], draw: Callable[[T], object], words: str = "Searching …") -> None:
    """Draws the answer here: at once where it comes in time, else later, with *words* and a Cancel meanwhile.

    Raises ApiError for what is refused in time; later refusals are drawn.
    """
    place = ui.element("div").classes("stack")
    task = asyncio.create_task(question)
    ui.context.client.on_delete(task.cancel)  # nobody looks any more
    await asyncio.wait({task}, timeout=PROMPT_S)
    with place:
        if task.done():
            draw(task.result())
            return
        with ui.element("div").classes("line waiting"):
            ui.spinner(size="20px")
            html(el("span", words, role="status"))
            ui.button("Cancel", color=None, on_click=task.cancel).props("flat dense").classes("link")

    async def later() -> None:
        try:
            answer = await task
        except asyncio.CancelledError:
            show(lambda: html(el("p", "Cancelled. Nothing was changed.", class_="empty-line", role="status")))
        except ApiError as error:
            refused = error
            show(lambda: report(refused) if refused.signed_out else html(problem_box(refused)))
        else:
            show(lambda: draw(answer))

    def show(drawing: Callable[[], Any]) -> None:
        if place.is_deleted:
            return
        place.clear()
        with place:
            drawing()

    background_tasks.create(later(), name="a slow answer")


async def lively(refresh: Refresh, every_s: float) -> ui.timer:
    """Calls *refresh* now, without keeping the page waiting, and then again and again while the page is looked at.

    A session that ended leads to sign-in; other refusals are left to the next turn.
    """
    client = ui.context.client
    turn = asyncio.Lock()

    async def once() -> None:
        if turn.locked():
            return  # the turn before still waits: a slow API is not asked twice at once
        async with turn:
            with client:
                try:
                    await refresh()
                except ApiError as error:
                    if error.signed_out:
                        report(error)

    first = background_tasks.create(once(), name="a page's first look")
    await asyncio.wait({first}, timeout=PROMPT_S)
    return ui.timer(every_s, once, immediate=False)
