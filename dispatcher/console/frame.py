"""The frame of every page: sign-in first, then the bar with its named links, then the page itself."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import RedirectResponse
from nicegui import app, ui

from dispatcher.console.api import Api, ApiError, Operator
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import html, not_found, page_head, problem_box
from dispatcher.console.sandbox_watch import SandboxWatch
from dispatcher.console.sessions import COOKIE_KEY, Sessions
from dispatcher.console.settings import ConsoleSettings
from dispatcher.console.words import zone_of

NAV = (
    ("overview", "/", "Overview"),
    ("strategies", "/strategies", "Strategies"),
    ("deliveries", "/deliveries", "Deliveries"),
    ("users", "/users", "Users & devices"),
    ("providers", "/providers", "Providers"),
    ("phone-lab", "/phone-lab", "Phone lab"),
)
#: Sets what the server wants to know of the browser (zone, theme) before anything is drawn.
HEAD = """
<link rel="stylesheet" href="/static/console.css">
<script src="/static/console.js"></script>
<script>
(() => {
  const read = (name) => document.cookie.split("; ").find((part) => part.startsWith(name + "="))?.split("=")[1];
  const keep = (name, value) => { document.cookie = `${name}=${value}; path=/; max-age=31536000; samesite=lax`; };
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
  const theme = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
  const stale = read("pp_zone") !== encodeURIComponent(zone) || !read("pp_theme");
  keep("pp_zone", encodeURIComponent(zone));
  if (!read("pp_theme")) keep("pp_theme", theme);
  if (stale && read("pp_zone") && read("pp_theme")) location.reload();
  window.ppTheme = (to) => { keep("pp_theme", to); location.reload(); };
})();
</script>
"""


@dataclass(frozen=True, kw_only=True)
class Visit:
    """One look at one page: who looks, with which rights, from which zone."""

    api: Api
    operator: Operator
    settings: ConsoleSettings
    zone: ZoneInfo
    dark: bool
    path: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)


Builder = Callable[[Visit], Awaitable[None]]


@dataclass(kw_only=True)
class Context:
    """What the process made at its start; pages find it on the application's state."""

    settings: ConsoleSettings
    sessions: Sessions
    sandbox: SandboxWatch


def context() -> Context:
    """Of the running console."""
    found: Context = app.state.console
    return found


def theme_of(request: Request) -> bool:
    """Whether the viewer wants it dark."""
    return request.cookies.get("pp_theme") == "dark"


def page(address: str, *, title: str, nav: str) -> Callable[[Builder], Builder]:
    """A page at *address* for signed-in operators; *nav* is its place in the bar."""

    def decorate(build: Builder) -> Builder:
        @ui.page(address, title=f"{title} · Pushpath", response_timeout=15)
        async def show(request: Request) -> Any:
            here = context()
            api = here.sessions.find(request.session.get(COOKIE_KEY))
            if api is None or api.operator is None:
                target = request.url.path + (f"?{request.url.query}" if request.url.query else "")
                return RedirectResponse(f"/sign-in?next={quote(target, safe='')}", status_code=303)
            visit = Visit(
                api=api,
                operator=api.operator,
                settings=here.settings,
                zone=zone_of(unquote(request.cookies.get("pp_zone", ""))),
                dark=theme_of(request),
                path=dict(request.path_params),
                query=dict(request.query_params),
            )
            _frame(visit, nav)
            with ui.element("div").classes("page").props('id="content"'):
                try:
                    await build(visit)
                except ApiError as error:
                    if error.signed_out:
                        return RedirectResponse("/sign-in?why=ended", status_code=303)
                    _refused(error, title, nav)
            return None

        return build

    return decorate


def _refused(error: ApiError, title: str, nav: str) -> None:
    """What a page says that could not be made."""
    home = next(((words, address) for key, address, words in NAV if key == nav), ("Overview", "/"))
    if error.status == 404:
        advice = "It may never have been there, be erased, or belong to another app. Check the app chosen above."
        not_found(f"{title} not found", advice, home)
        return
    page_head(title, back=home)
    html(problem_box(error))
    ui.button("Try again", on_click=lambda: ui.navigate.reload()).props("unelevated").classes("start")


def bare_head(*, dark: bool) -> None:
    """What every page carries, signed in or not."""
    ui.add_head_html(HEAD)
    ui.colors(primary="#3d4fd6" if not dark else "#4f5fe0", positive="#15803d", negative="#b42318", warning="#8a5a00")
    ui.dark_mode(dark)


def _frame(visit: Visit, nav: str) -> None:
    bare_head(dark=visit.dark)
    with ui.header().classes("bar"):
        skip = el("a", "Skip to content", href="#content", class_="skip")
        brand = el("a", _mark(), "Pushpath", href="/", class_="brand", aria_label="Pushpath, to the overview")
        html(join(skip, brand))
        links = [
            el(
                "a",
                words,
                href=address,
                class_="here" if key == nav else None,
                aria_current="page" if key == nav else None,
            )
            for key, address, words in NAV
        ]
        html(el("nav", links, aria_label="Main", class_="nav"), "nav-box")
        html(_finder(), "find-box")
        with ui.element("div").classes("bar-end"):
            _app_choice(visit)
            words = "Light" if visit.dark else "Dark"
            ui.button(
                icon="light_mode" if visit.dark else "dark_mode",
                color=None,
                on_click=lambda: ui.run_javascript(f"ppTheme('{words.lower()}')"),
            ).props(f'flat round dense aria-label="{words} theme"').classes("bar-button")
            person = el("span", visit.operator.login, el("small", visit.operator.role), class_="person")
            out = el("button", "Sign out", type="submit", class_="sign-out")
            html(el("form", person, out, method="post", action="/sign-out", class_="sign-out-form"))


def _finder() -> Markup:
    """One field for whatever an operator was given: a message, a user, a number, a device."""
    return el(
        "form",
        el(
            "input",
            name="text",
            type="search",
            id="find",
            required=True,
            autocomplete="off",
            placeholder="Find id or number  /",
            aria_label="Find a message, user, number or device",
            title="Press / to come here",
        ),
        method="get",
        action="/find",
        role="search",
        aria_label="Everywhere",
        class_="find",
    )


def _app_choice(visit: Visit) -> None:
    apps = dict(visit.operator.apps)
    if len(apps) < 2:
        if apps:
            html(el("span", next(iter(apps.values())), class_="app-name", title="App"))
        return

    def choose(event: Any) -> None:
        visit.operator.app_id = event.value
        ui.navigate.reload()

    ui.select(apps, value=visit.operator.app_id, label="App", on_change=choose).props("dense outlined").classes("apps")


def _mark() -> Markup:
    """The ladder, small."""
    return el(
        "svg",
        el("path", d="M4 20V9m5 11V4m6 16v-8m5 8V7", stroke="currentColor", stroke_width="2.4", stroke_linecap="round"),
        viewBox="0 0 24 24",
        width="22",
        height="22",
        fill="none",
        aria_hidden="true",
    )
