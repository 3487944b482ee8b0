"""The query of ``GET /v1/inbox`` as api.md has it."""

import re
from urllib.parse import parse_qsl

from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.requests import InboxQuery, Window

_DURATION = re.compile(r"(\d{1,6})(ms|s|m)\Z")
_UNITS = {"ms": 1, "s": SECOND, "m": 60 * SECOND}
_KNOWN = {"limit", "before", "after", "wait", "window"}
_WINDOWS = {"recent", "month", "archive"}
LIMIT_MOST = 200
MOST_FIELDS = 16


class BadQuery(ValueError):
    """What is wrong, by field."""

    def __init__(self, errors: list[tuple[str, str]]) -> None:
        super().__init__("; ".join(f"{field}: {message}" for field, message in errors))
        self.errors = errors


def read_inbox_query(query: str, *, wait_most: Millis) -> tuple[InboxQuery, Millis]:
    """The question and how long it may wait, in milliseconds; raises :class:`BadQuery`."""
    errors: list[tuple[str, str]] = []
    given: dict[str, str] = {}
    for name, value in _pairs(query):
        if name not in _KNOWN:
            errors.append((name[:64], "is unknown"))
        elif name in given:
            errors.append((name, "stands twice"))
        given[name] = value
    limit = given.get("limit", "50")
    if not limit.isascii() or not limit.isdigit() or not 1 <= int(limit[:9]) <= LIMIT_MOST:
        errors.append(("limit", f"is a number from 1 to {LIMIT_MOST}"))
    if "before" in given and "after" in given:
        errors.append(("before", "goes with no after"))
    window = given.get("window", "recent")
    if window not in _WINDOWS:
        errors.append(("window", "is recent, month or archive"))
    wait = _DURATION.match(given.get("wait", "0s"))
    wait_ms = int(wait[1]) * _UNITS[wait[2]] if wait is not None else 0
    if wait is None or wait_ms > wait_most:
        errors.append(("wait", f"is a duration up to {wait_most // SECOND}s"))
    if errors:
        raise BadQuery(errors)
    asked = InboxQuery(limit=int(limit), before=given.get("before"), after=given.get("after"), window=Window(window))
    return asked, wait_ms


def _pairs(query: str) -> list[tuple[str, str]]:
    """Names and values. What needs no decoding, as nearly all that phones ask, is only split."""
    parts = query.split("&") if query else []
    if len(parts) <= MOST_FIELDS and "%" not in query and "+" not in query:
        found = [(name, value) for name, equals, value in (part.partition("=") for part in parts) if equals]
        if len(found) == len(parts):
            return found
    try:
        return parse_qsl(
            query, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise BadQuery([("query", "is malformed")]) from None
