"""Conditional changes (RFC 9110, 13.1): a change that names what its author read is refused where that is gone."""

from typing import Any

from dispatcher.api.access import HttpRequest
from dispatcher.api.answers import Answer, answer
from dispatcher.domain.etag import ANY, Condition
from dispatcher.errors import Problem


def condition_of(request: HttpRequest) -> Condition:
    """From ``If-Match`` and ``If-None-Match``; tags that a proxy weakened count as their strong ones."""
    match, none = request.headers.get("if-match"), request.headers.get("if-none-match")
    if none is not None and none.strip() != ANY:
        raise Problem.invalid("If-None-Match", "only * is understood here: nothing may stand there yet")
    return Condition(
        etags=None if match is None else frozenset(_bare(part) for part in match.split(",")), absent=none is not None
    )


def tagged(value: Any, etag: str, status: int = 200) -> Answer:
    """*value* as JSON with its ETag."""
    return answer(value, status, headers={"ETag": f'"{etag}"'})


def _bare(tag: str) -> str:
    return tag.strip().removeprefix("W/").strip('"')
