"""Answers: JSON made once, problems as RFC 9457, and every exception's way into one of them."""

import logging
from collections.abc import Mapping
from typing import Any

import msgspec
from litestar import Response
from litestar.exceptions import HTTPException

from dispatcher.api.access import HttpRequest
from dispatcher.api.core import Core
from dispatcher.domain.ids import ForeignCursor, is_id
from dispatcher.errors import MEDIA_TYPE, Kind, Problem

_log = logging.getLogger("pushpath.api")
_encode = msgspec.json.Encoder().encode
_KEEP_PRIVATE = {"Cache-Control": "no-store"}

#: Stands for ``/`` inside one path segment (see :mod:`dispatcher.api.door`).
SLASH = "\x1f"

Answer = Response[bytes]


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """*value* as JSON."""
    return raw_answer(_encode(value), status, headers=headers)


def raw_answer(
    body: bytes, status: int = 200, *, media: str = "application/json", headers: Mapping[str, str] | None = None
) -> Answer:
    """Bytes as they are."""
    return Response(body, status_code=status, media_type=media, headers={**_KEEP_PRIVATE, **(headers or {})})


def no_content() -> Answer:
    """204."""
    return Response(b"", status_code=204, headers=_KEEP_PRIVATE)


def problem_answer(problem: Problem) -> Answer:
    """RFC 9457."""
    return raw_answer(problem.render(), problem.status, media=MEDIA_TYPE, headers=problem.headers)


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
    if isinstance(error, outages):
        return Problem.unavailable("a store is away; the same request may succeed in a moment")
    return None


_SENTENCES = {
    Kind.NOT_FOUND: "there is no such address",
    Kind.METHOD_NOT_ALLOWED: "see Allow for what this address takes",
    Kind.TOO_LARGE: "a request is at most 512 KiB, a batch 8 MiB",
}


def on_error(request: HttpRequest, error: Exception) -> Answer:
    """Litestar's handler for everything that a route or the router raises."""
    core = core_of(request)
    problem = to_problem(error, core.outages)
    if problem is None:
        _log.error("a request failed", exc_info=error, extra={"path": request.scope.get("path_template", "")})
        problem = Problem(Kind.INTERNAL, "it is logged; try again")
    elif problem.kind is Kind.UNAVAILABLE:
        _log.warning("a store is away", extra={"error": type(error).__name__})
    return problem_answer(problem)
