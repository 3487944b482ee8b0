"""What stands in front of the router: ids with a slash, a limit of requests at once, a count of every answer."""

import time
from urllib.parse import unquote_to_bytes

from litestar.types import ASGIApp, Message, Receive, Scope, Send

from dispatcher.api.answers import SLASH, problem_answer
from dispatcher.api.core import Core
from dispatcher.api.cors import Cors, permitting
from dispatcher.api.hot_lane import HotLane
from dispatcher.errors import Kind, Problem

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"})


class Door:
    """An ASGI app around the router. Beyond ``api_max_in_flight`` requests at once the answer is 503, unread."""

    def __init__(self, inside: ASGIApp, core: Core, hot: HotLane) -> None:
        self._inside = inside
        self._hot = hot
        self._metrics = core.metrics
        self._limit = core.settings.api_max_in_flight
        self._cors = Cors(core.settings.cors_origins) if core.settings.cors_origins else None
        self._under_way = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = str(scope.get("method", ""))
        if not method:  # no HTTP request: start-up, shutdown
            await self._inside(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        permission = self._cors.permission(scope) if self._cors is not None else None

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if permission is not None:
                    message = permitting(permission, message)
            await send(message)

        refused = self._refusal(scope)
        self._under_way += 1
        try:
            if self._cors is not None and await self._cors.preflight(scope, counted):
                pass
            elif refused is not None:
                await problem_answer(refused)(scope, receive, counted)
            elif not await self._hot.serve(method, scope, receive, counted):
                await self._inside(scope, receive, counted)
        finally:
            self._under_way -= 1
            route = scope.get("path_template") or "unmatched"
            self._metrics.http(
                method if method in _METHODS else "other", str(route), status, time.perf_counter() - started
            )

    def _refusal(self, scope: Scope) -> Problem | None:
        if self._under_way >= self._limit:
            return Problem(Kind.OVERLOADED, "more requests are under way than this process takes", retry_after=1_000)
        raw = scope.get("raw_path") or b""
        if b"%" in raw:
            # An id may hold a slash, which its caller wrote as %2F; decoded whole, it would part the segment.
            try:
                segments = [unquote_to_bytes(segment).decode() for segment in raw.partition(b"?")[0].split(b"/")]
            except UnicodeDecodeError:
                return Problem.malformed("the path is not UTF-8")
            if any(SLASH in segment for segment in segments):
                return Problem.malformed("the path contains a control character")
            scope["path"] = "/".join(segment.replace("/", SLASH) for segment in segments)
        return None
