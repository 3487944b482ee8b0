"""The busiest routes without the framework around them: the same check, the same handlers, a request of a few slots.

Litestar's routing, request object and exit stack cost more than reading and answering a message does. Everything here
is what the handlers see of its Request; what the OpenAPI says of these routes is said of the same functions.
"""

from time import monotonic_ns
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from litestar import Litestar
from litestar.handlers import HTTPRouteHandler
from litestar.types import Receive, Scope, Send

from dispatcher.api.access import Access, HttpRequest
from dispatcher.api.answers import Answer, problem_answer, problem_of
from dispatcher.api.core import Core
from dispatcher.api.routes.inbox import inbox, receipts
from dispatcher.api.routes.messages import dispatch, dispatch_batch
from dispatcher.errors import Kind, Problem

HANDLERS = (dispatch, dispatch_batch, inbox, receipts)
TRACED = (dispatch, dispatch_batch)


class _Address(NamedTuple):
    host: str
    port: int


class _Headers:
    """Look-up by lower-case name; a request has few, and one or two are asked for."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def get(self, name: str, default: str = "") -> str:
        wanted = name.encode()
        return next((bytes(value).decode("latin-1") for key, value in self._raw if key == wanted), default)


class HotRequest:
    """As much of a Litestar request as the hot handlers use."""

    __slots__ = ("_limit", "app", "client", "headers", "receive", "route_handler", "scope", "state")

    def __init__(self, scope: Any, receive: Receive, app: Litestar, handler: HTTPRouteHandler, limit: int) -> None:
        self.scope = scope
        self.receive = receive
        self.app = app
        self.route_handler = handler
        self.headers = _Headers(scope["headers"])
        self.client = _Address(*scope["client"]) if scope.get("client") else None
        self.state = SimpleNamespace()
        self._limit = limit

    async def body(self) -> bytes:
        """The whole body; Problem 413 from its announced length, else as soon as too much has come."""
        announced = self.headers.get("content-length")
        if announced.isdigit() and int(announced) > self._limit:
            raise too_large()
        parts: list[bytes] = []
        size = 0
        while True:
            event: Any = await self.receive()
            if event["type"] == "http.disconnect":
                raise Problem.malformed("the request ended early")
            part = event.get("body", b"")
            size += len(part)
            if size > self._limit:
                raise too_large()
            parts.append(part)
            if not event.get("more_body", False):
                return b"".join(parts)


def too_large() -> Problem:
    """413."""
    return Problem(Kind.TOO_LARGE, "a request is at most 512 KiB, a batch 8 MiB")


class HotLane:
    """Serves :data:`HANDLERS`; knows by method and path whether a request is one for it."""

    def __init__(self, app: Litestar, access: Access, max_body: int, core: Core) -> None:
        self._app = app
        self._traces = core.traces
        self._clock = core.clock
        self._access = access
        self._handlers: dict[tuple[str, str], tuple[HTTPRouteHandler, str, int]] = {
            (str(method), path): (handler, path, _limit(handler, max_body))
            for handler in HANDLERS
            for path in handler.paths
            for method in handler.http_methods
        }

    async def serve(self, method: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """False where the router is to take it."""
        found = self._handlers.get((method, scope["path"]))
        if found is None:
            return False
        handler, template, limit = found
        cast("dict[str, Any]", scope)["path_template"] = template
        request = cast("HttpRequest", HotRequest(scope, receive, self._app, handler, limit))
        begun = None
        if self._traces is not None and handler in TRACED:
            begun = self._traces.begin(request.headers.get("traceparent", ""), self._clock(), monotonic_ns())
            request.state.trace = begun.context.pack() if begun is not None else None
        try:
            await self._access.admit(request)
            answer: Answer = await handler.fn(request)
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem
            answer = problem_answer(problem_of(request, error))
        caller = getattr(request.state, "caller", None)
        if begun is not None and self._traces is not None and caller is not None:  # strangers leave no spans
            self._traces.answered(begun, method, template, answer.status, monotonic_ns(), caller.app)
        await answer(scope, receive, send)
        return True


def _limit(handler: HTTPRouteHandler, default: int) -> int:
    own = handler.request_max_body_size
    return own if isinstance(own, int) else default
