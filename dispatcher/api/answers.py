"""Answers: JSON made once, problems as RFC 9457, and every exception's way into one of them."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from dispatcher.api.access import HttpRequest
from dispatcher.api.core import Core
from dispatcher.domain.etag import Stale
from dispatcher.domain.ids import ForeignCursor, is_id
from dispatcher.errors import MEDIA_TYPE, Kind, Problem

_log = logging.getLogger("pushpath.api")
_encode = msgspec.json.Encoder().encode
_NO_STORE = (b"cache-control", b"no-store")

#: Stands for ``/`` inside one path segment (see :mod:`dispatcher.api.door`).
SLASH = "\x1f"


class Answer:
    """An answer that sends itself. Litestar's own Response costs three times as much, and hot routes feel it."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, body: bytes, status: int, media: str | None, headers: Mapping[str, str] | None = None) -> None:
        self.body = body
        self.status = status
        self.headers = [_NO_STORE]
        if media is not None:
            self.headers += [
                (b"content-type", media.encode("latin-1")),
                (b"content-length", str(len(body)).encode()),
            ]
        if headers:
            self.headers += [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in headers.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI app: two messages."""
        start: HTTPResponseStartEvent = {"type": "http.response.start", "status": self.status, "headers": self.headers}
        body: HTTPResponseBodyEvent = {"type": "http.response.body", "body": self.body, "more_body": False}
        await send(start)
        await send(body)


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """*value* as JSON."""
    return raw_answer(_encode(value), status, headers=headers)


def raw_answer(
    body: bytes, status: int = 200, *, media: str = "application/json", headers: Mapping[str, str] | None = None
) -> Answer:
    """Bytes as they are."""
    return Answer(body, status, media, headers)


def no_content() -> Answer:
    """204."""
    return Answer(b"", 204, None)


def problem_answer(problem: Problem) -> Answer:
    """RFC 9457."""
    return Answer(problem.render(), problem.status, MEDIA_TYPE, problem.headers)


def core_of(request: HttpRequest) -> Core:
    """The core this app was made with."""
    core: Core = request.app.state.core
    return core


def path_id(request: HttpRequest, field: str) -> str:
    """An id from the path, as its caller spelled it before percent-encoding."""
    text = str(request.path_params[field]).replace(SLASH, "/")
    if not is_id(text):
        raise Problem.invalid(field, "write 1 to 128 visible ASCII characters")
    return text


_BY_STATUS = {
    401: Kind.UNAUTHENTICATED,
    403: Kind.FORBIDDEN,
    404: Kind.NOT_FOUND,
    405: Kind.METHOD_NOT_ALLOWED,
    413: Kind.TOO_LARGE,
    429: Kind.RATE_LIMITED,
    503: Kind.UNAVAILABLE,
}


def to_problem(error: Exception, outages: tuple[type[Exception], ...]) -> Problem | None:
    """What the caller is told about *error*; None: it is a fault of ours."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, HTTPException):
        if error.status_code >= 500 and error.status_code != 503:
            return Problem.malformed("the request ended early") if "disconnect" in error.detail else None
        kind = _BY_STATUS.get(error.status_code, Kind.MALFORMED)
        allow = {name.title(): value for name, value in (error.headers or {}).items() if name.lower() == "allow"}
        return Problem(kind, _SENTENCES.get(kind, error.detail), headers=allow)
    if isinstance(error, ForeignCursor):
        return Problem.invalid("after", "the cursor is none of this user's")
    if isinstance(error, Stale):
        return Problem(Kind.STALE, "it was changed since you read it, or is there already: read it again")
    if isinstance(error, outages):
        return Problem.unavailable("a store is away; the same request may succeed in a moment")
    return None


_SENTENCES = {
    Kind.NOT_FOUND: "there is no such address",
    Kind.METHOD_NOT_ALLOWED: "see Allow for what this address takes",
    Kind.TOO_LARGE: "a request is at most 512 KiB, a batch 8 MiB",
}


def problem_of(request: HttpRequest, error: Exception) -> Problem:
    """What the caller is told; faults of ours are logged."""
    core = core_of(request)
    problem = to_problem(error, core.outages)
    if problem is None:
        _log.error("a request failed", exc_info=error, extra={"path": request.scope.get("path_template", "")})
        problem = Problem(Kind.INTERNAL, "it is logged; try again")
    elif problem.kind is Kind.UNAVAILABLE:
        _log.warning("a store is away", extra={"error": type(error).__name__})
    return problem


def on_error(request: HttpRequest, error: Exception) -> Response[bytes]:
    """Litestar's handler for everything that a route or the router raises."""
    problem = problem_of(request, error)
    headers = {"Cache-Control": "no-store", **problem.headers}
    return Response(problem.render(), status_code=problem.status, media_type=MEDIA_TYPE, headers=headers)
