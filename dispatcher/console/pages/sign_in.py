"""Signing in and out: plain forms, so that Enter and password managers work, and a fresh session number each time."""

import uuid
from typing import Any
from urllib.parse import parse_qs, quote

from fastapi import Request
from fastapi.responses import RedirectResponse
from nicegui import app, ui

from dispatcher.console.api import Api, ApiError
from dispatcher.console.frame import bare_head, context, theme_of
from dispatcher.console.markup import el
from dispatcher.console.pieces import html
from dispatcher.console.sessions import COOKIE_KEY

_MOST_BYTES = 8_192
_WHY = {
    "wrong": "Login or password is wrong.",
    "often": "Too many tries. Wait a moment, then try again.",
    "away": "The API does not answer. Try again in a moment.",
    "ended": "Your session has ended. Sign in again.",
    "out": "You have signed out.",
    "failed": "Signing in failed. Try again; if it stays so, look at the console's log.",
}


def local_target(text: str | None) -> str:
    """Where to go after signing in: addresses of this console only, so that nobody is led elsewhere."""
    if not text or not text.startswith("/") or text.startswith(("//", "/\\", "/sign-")):
        return "/"
    return text if text.isprintable() else "/"


@ui.page("/sign-in", title="Sign in · Pushpath")
def sign_in(request: Request) -> Any:
    """The form."""
    if context().sessions.find(request.session.get(COOKIE_KEY)) is not None:
        return RedirectResponse("/", status_code=303)
    bare_head(dark=theme_of(request))
    why = request.query_params.get("why", "")
    calm = why == "out"
    with ui.element("div").classes("sign-in"):
        html(
            el(
                "form",
                el("h1", "Pushpath"),
                el("p", "Operators' console", class_="muted"),
                el("p", _WHY[why], class_="note" if calm else "problem", role="status" if calm else "alert")
                if why in _WHY
                else None,
                el("label", "Login", for_="login"),
                el(
                    "input",
                    id="login",
                    name="login",
                    autocomplete="username",
                    required=True,
                    autofocus=True,
                    value=request.query_params.get("login", "")[:128],
                ),
                el("label", "Password", for_="password"),
                el(
                    "input",
                    id="password",
                    name="password",
                    type="password",
                    autocomplete="current-password",
                    required=True,
                ),
                el("input", type="hidden", name="next", value=local_target(request.query_params.get("next"))),
                el("button", "Sign in", type="submit"),
                el(
                    "p",
                    "Accounts are made by an administrator: ",
                    el("code", "pushpath operators create"),
                    class_="muted small",
                ),
                method="post",
                action="/sign-in",
                class_="sign-in-form",
            )
        )
    return None


@app.post("/sign-in", include_in_schema=False)
async def take_sign_in(request: Request) -> RedirectResponse:
    """Asks the API; the password is kept nowhere."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            return _again("failed", "", "/")
    fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
    login, target = fields.get("login", ""), local_target(fields.get("next"))
    sessions = context().sessions
    address = request.client.host if request.client is not None else None
    try:
        operator = await Api(sessions.client).sign_in(login, fields.get("password", ""), address)
    except ApiError as error:
        why = {401: "wrong", 422: "wrong", 400: "wrong", 429: "often"}.get(error.status)
        return _again(why or ("away" if error.away else "failed"), login, target)
    sessions.close(request.session.get(COOKIE_KEY))
    request.session.clear()
    request.session["id"] = str(uuid.uuid4())
    request.session[COOKIE_KEY] = sessions.open(operator)
    return RedirectResponse(target, status_code=303)


@app.post("/sign-out", include_in_schema=False)
async def take_sign_out(request: Request) -> RedirectResponse:
    """Ends the session here and its token at the API."""
    api = context().sessions.close(request.session.get(COOKIE_KEY))
    request.session.clear()
    request.session["id"] = str(uuid.uuid4())
    if api is not None:
        await api.sign_out()
    return RedirectResponse("/sign-in?why=out", status_code=303)


def _again(why: str, login: str, target: str) -> RedirectResponse:
    return RedirectResponse(
        f"/sign-in?why={why}&login={quote(login[:128], safe='')}&next={quote(target, safe='')}", status_code=303
    )
