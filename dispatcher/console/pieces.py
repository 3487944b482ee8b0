"""The small parts every page is made of: tiles, badges, tables, empty states, problems."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from inspect import signature
from typing import Any

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.palette import TONES
from dispatcher.console.words import path_name

#: From this share of a budget on somebody should know.
NEARLY_FULL = 0.8


def html(content: str, classes: str = "") -> ui.html:
    """Markup of ours, as it is: made with :func:`el`, which escapes."""
    return ui.html(content, sanitize=False).classes(classes)


def badge(state: str, tone: str | None = None, *, label: str | None = None) -> Markup:
    """A state as a pill: colour and word."""
    words = label if label is not None else state.replace("_", " ")
    return el("span", words, class_=f"badge tone-{tone or TONES.get(state, 'quiet')}")


def path_badge(path: str | None, note: str | None = None) -> Markup:
    """A path with its colour."""
    if not path:
        return el("span", "–", class_="muted")
    return el("span", el("i", class_="dot", aria_hidden="true"), note or path_name(path), class_=f"path path-{path}")


def tile(title: str, value: str, note: Any = "", *, tone: str = "") -> Markup:
    """One figure."""
    return el(
        "div",
        el("div", title, class_="tile-title"),
        el("div", value, class_=f"tile-value {tone}"),
        el("div", note, class_="tile-note"),
        class_="tile",
    )


def fullness(share: float) -> str:
    """The tone of a budget of which *share* is used."""
    return "bad" if share >= 1 else "warn" if share >= NEARLY_FULL else ""


def meter(share: float, label: str) -> Markup:
    """How much of something is used, as a bar; over-full is full."""
    filled = min(share, 1.0)
    return el(
        "div",
        el("i", style=f"width:{filled:.1%}"),
        class_=f"meter {fullness(share)}",
        role="meter",
        aria_label=label,
        aria_valuenow=f"{filled * 100:.0f}",
        aria_valuemin="0",
        aria_valuemax="100",
    )


def table(
    heads: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    caption: str,
    numeric: Iterable[int] = (),
    empty: str = "",
    stack: bool = False,
) -> Markup:
    """A plain table in a frame that scrolls sideways where it is too narrow. *numeric*: columns set right.

    *stack*: on a phone each row becomes a small card instead, its first cell as the title.
    """
    right = set(numeric)
    made = [
        el("tr", [_cell(heads[at], cell, right=at in right) for at, cell in enumerate(row)], role="row") for row in rows
    ]
    if not made:
        return el("p", empty, class_="empty-line") if empty else join()
    head = el(
        "tr",
        [
            el("th", title, scope="col", role="columnheader", class_="num" if at in right else None)
            for at, title in enumerate(heads)
        ],
        role="row",
    )
    # the roles say again what the tags do: laid out as cards, browsers would forget that it is a table
    body = el(
        "table",
        el("caption", caption, class_="sr-only"),
        el("thead", head, role="rowgroup"),
        el("tbody", made, role="rowgroup"),
        role="table",
        class_="table stack-table" if stack else "table",
    )
    return el("div", body, class_="table-frame", tabindex="0", role="region", aria_label=caption)


def _cell(title: str, content: Any, *, right: bool) -> Markup:
    return el("td", content, role="cell", data_label=title, class_="num" if right else None)


def empty_state(title: str, advice: Any, icon: str = "inbox") -> Markup:
    """Nothing here yet, and what to do about it."""
    return el(
        "div",
        el("span", icon, class_="material-icons empty-icon", aria_hidden="true"),
        el("h2", title),
        el("p", advice),
        class_="empty",
    )


def not_found(what: str, advice: Any, back: tuple[str, str]) -> None:
    """A page that is there to say that something is not; *back*: (words, address)."""
    page_head(what, back=back)
    html(empty_state("Nothing is kept under this address", advice, "search_off"), "card")


def problem_box(error: ApiError) -> Markup:
    """What the API refused, or that it is away."""
    title = "The API is away" if error.away else "That did not work"
    return el("div", el("strong", title), el("span", error.sentence()), class_="problem", role="alert")


def report(error: ApiError) -> None:
    """Tells the person at this page; sends them to sign in where their session is over."""
    if error.signed_out:
        ui.navigate.to("/sign-in?why=ended")
        return
    ui.notify(error.sentence(), type="negative" if not error.away else "warning", multi_line=True, timeout=8_000)


def done(text: str) -> None:
    """Says that something went well."""
    ui.notify(text, type="positive")


def guarded(action: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """An event handler whose refusals by the API are shown. *action* takes the event, or nothing."""

    async def attempt(*arguments: Any) -> None:
        try:
            await action(*arguments)
        except ApiError as error:
            report(error)

    async def told(event: Any) -> None:
        await attempt(event)

    async def untold() -> None:
        await attempt()

    # NiceGUI hands the event to handlers that name it
    needed = [one for one in signature(action).parameters.values() if one.default is one.empty]
    return told if needed else untold


def card(title: str = "", note: str = "", classes: str = "") -> ui.element:
    """A framed part of a page with its heading; use it in a ``with``."""
    frame = ui.element("section").classes(f"card {classes}")
    if title:
        with frame:
            html(el("div", el("h2", title), el("p", note, class_="card-note") if note else None, class_="card-head"))
    return frame


def page_head(title: str, note: Any = "", back: tuple[str, str] | None = None) -> None:
    """The heading of a page; *back*: (words, address)."""
    crumb = el("a", "← ", back[0], href=back[1], class_="crumb") if back else None
    html(el("div", crumb, el("h1", title), el("p", note, class_="page-note") if note else None, class_="page-head"))


async def confirm(title: str, text: str, action: str, *, word: str | None = None) -> bool:
    """Asks before something that cannot be undone; *word* must be typed where it is given."""
    with ui.dialog() as dialog, ui.card().classes("dialog"):
        dialog.props(f'aria-label="{title}"')
        html(el("h2", title))
        html(el("p", text))
        typed = ui.input(f"Type {word} to go on").classes("wide") if word is not None else None
        with ui.row().classes("actions"):
            ui.button("Cancel", color=None, on_click=lambda: dialog.submit(False)).props("flat").classes("link")
            go = ui.button(action, on_click=lambda: dialog.submit(True)).props("color=negative unelevated")
            if typed is not None:
                go.bind_enabled_from(typed, "value", backward=lambda value: value == word)
    answer = await dialog
    dialog.delete()
    return bool(answer)
