"""The truth that tests compare with: every request as received, in order, in memory only."""

from collections import deque
from datetime import UTC, datetime
from itertools import islice
from typing import Any

from providers.sandbox.wire.exchange import Request

PAGE = 1000
"""Requests a reply at most."""


class LoggedRequest:
    """One entry; ``status`` stays None until an answer was given."""

    __slots__ = (
        "at",
        "body",
        "connection",
        "method",
        "n",
        "raw_headers",
        "reason",
        "status",
        "stream",
        "target",
        "url",
    )

    def __init__(self, n: int, at: float, request: Request, target: str | None) -> None:
        self.n = n
        self.at = at
        self.connection = request.connection.number
        self.stream = request.stream
        self.method = request.method
        self.url = request.path
        self.raw_headers = tuple(request.raw_headers)
        self.body = request.body
        self.target = target
        self.status: int | None = None
        self.reason: str | None = None

    def answered(self, status: int, reason: str | None) -> None:
        """Note what was given."""
        self.status, self.reason = status, reason

    def unanswered(self) -> None:
        """The client was gone, or the answer was a wire fault."""
        self.status = self.reason = None

    def document(self) -> dict[str, Any]:
        """As ``GET /control/{end}/requests`` shows it; repeated headers are joined with commas."""
        headers: dict[str, str] = {}
        for raw_name, raw_value in self.raw_headers:
            name, value = raw_name.decode("ascii", "replace"), raw_value.decode("utf-8", "replace")
            headers[name] = f"{headers[name]}, {value}" if name in headers else value
        return {
            "n": self.n,
            "at": datetime.fromtimestamp(self.at, UTC).isoformat(timespec="milliseconds"),
            "connection": self.connection,
            "stream": self.stream,
            "method": self.method,
            "url": self.url,
            "headers": headers,
            "body": self.body.decode("utf-8", "replace"),
            "target": self.target,
            "answer": None if self.status is None else {"status": self.status, "reason": self.reason},
        }


class RequestLog:
    """Append-only. Beyond *limit* the oldest entries go, and every reply says how many did (``dropped``)."""

    def __init__(self, limit: int) -> None:
        self._entries: deque[LoggedRequest] = deque(maxlen=limit)
        self._last = 0

    def append(self, at: float, request: Request, target: str | None) -> LoggedRequest:
        """Log *request*, received at *at* (seconds since the epoch)."""
        self._last += 1
        entry = LoggedRequest(self._last, at, request, target)
        self._entries.append(entry)
        return entry

    @property
    def dropped(self) -> int:
        """Entries lost to the bound: those with ``n`` up to this number."""
        return self._last - len(self._entries)

    def page(self, after: int) -> dict[str, Any]:
        """Up to ``PAGE`` entries with n above *after*; ``last`` is the newest n there is."""
        start = max(0, after - self.dropped)
        entries = islice(self._entries, start, start + PAGE)
        return {
            "requests": [entry.document() for entry in entries],
            "last": self._last,
            "dropped": self.dropped,
        }
