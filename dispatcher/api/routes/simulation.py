"""Trying a document: on given facts at once, on recorded traffic with progress; it ends when its caller leaves."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast

import msgspec
from litestar import post
from litestar.types import HTTPResponseBodyEvent, HTTPResponseStartEvent, Receive, Scope, Send

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, problem_answer, problem_of
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import check_window, read_time
from dispatcher.api.contract import Contract, scopes
from dispatcher.api.contract import Scope as KeyScope
from dispatcher.api.core import Progress
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.strategies import SimulateIn
from dispatcher.errors import Problem

#: Who accepts this gets a line each half second, then the result.
LINES = "application/x-ndjson"
EVERY_S = 0.5
_encode = msgspec.json.Encoder().encode
Work = Callable[[Progress], Awaitable[Mapping[str, Any]]]


@post(
    "/v1/strategies/simulate",
    status_code=200,
    opt=Contract(
        summary="Try a document",
        tag="Strategies",
        scopes=scopes(KeyScope.STRATEGIES),
        safe=True,
        body=SimulateIn,
        query=NoParams,
        answers={200: dict[str, Any]},
        problems=(413,),
    ).opt(),
)
async def simulate(request: HttpRequest) -> Answer:
    """With ``facts``: rule, ladder and explanation. With ``since``: old against new over the window's traffic.

    SMS go as far as each one's own limits let them: ``sms_limited`` tells how many were held, and by which limit.

    Recorded traffic may take minutes: with ``Accept: application/x-ndjson`` lines of ``{done, total}`` (deliveries;
    a total of 0 while an earlier trial is still under way) come twice a second, then one ``{result}`` or
    ``{problem}``. Hang up to cancel.
    """
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), SimulateIn)
    document = wanted.strategy if isinstance(wanted.strategy, str) else _as_text(wanted.strategy)
    if wanted.facts is not None:
        if wanted.since is not None or wanted.until is not None:
            raise Problem.invalid("facts", "give facts or a window (since, until), not both")
        return answer(await core.simulate_facts(app, document, wanted.facts))
    if wanted.since is None:
        raise Problem.invalid("since", "give facts, or a window that begins with since")
    since = read_time("since", wanted.since)
    until = read_time("until", wanted.until) if wanted.until is not None else core.clock() + 1
    check_window(since, until)

    def work(progress: Progress) -> Awaitable[Mapping[str, Any]]:
        return core.simulate_recorded(
            app, document, since, until, sample=wanted.sample, segment_price=wanted.segment_price, progress=progress
        )

    return Trial(request, work, lines=LINES in request.headers.get("accept", ""))


def _as_text(document: dict[str, Any]) -> str:
    """Lines that faults can point at."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


class Trial(Answer):
    """Does *work* while its caller waits, and no longer: it stops when they hang up or this process drains.

    With *lines* the answer begins after half a second at the latest; what is refused before that is a plain problem.
    """

    __slots__ = ("_lines", "_progress", "_request", "_work")

    def __init__(self, request: HttpRequest, work: Work, *, lines: bool) -> None:
        super().__init__(b"", 200, None, {"content-type": LINES})
        self._request = request
        self._work = work
        self._lines = lines
        self._progress = (0, 0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As an ASGI app."""
        task = asyncio.ensure_future(self._work(self._told))
        draining = asyncio.ensure_future(core_of(self._request).draining.wait())
        left = asyncio.ensure_future(_left(receive))
        watched = (task, draining, left)
        try:
            begun = False
            while not any(one.done() for one in watched):
                await asyncio.wait(
                    watched, timeout=EVERY_S if self._lines else None, return_when=asyncio.FIRST_COMPLETED
                )
                if self._lines and not any(one.done() for one in watched):
                    done, total = self._progress
                    await self._line(send, {"done": done, "total": total}, first=not begun)
                    begun = True
            if not left.done():
                await self._end(task, scope, receive, send, begun=begun)
        finally:
            await _stop(watched)

    def _told(self, done: int, total: int) -> None:
        self._progress = (done, total)

    async def _end(
        self, task: "asyncio.Future[Mapping[str, Any]]", scope: Scope, receive: Receive, send: Send, *, begun: bool
    ) -> None:
        try:
            if not task.done():
                raise Problem.unavailable("this process is stopping; ask again")
            result = task.result()
        except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a problem
            problem = problem_of(self._request, error)
            if begun:
                await self._line(send, {"problem": msgspec.Raw(problem.render())}, last=True)
            else:
                await problem_answer(problem)(scope, receive, send)
            return
        if self._lines:
            await self._line(send, {"result": result}, first=not begun, last=True)
        else:
            await answer(result)(scope, receive, send)

    async def _line(self, send: Send, content: Mapping[str, Any], *, first: bool = False, last: bool = False) -> None:
        if first:
            start: HTTPResponseStartEvent = {
                "type": "http.response.start",
                "status": self.status,
                "headers": self.headers,
            }
            await send(start)
        body: HTTPResponseBodyEvent = {
            "type": "http.response.body",
            "body": _encode(content) + b"\n",
            "more_body": not last,
        }
        await send(body)


async def _left(receive: Receive) -> None:
    """Returns once the caller hung up."""
    while cast("str", (await receive())["type"]) != "http.disconnect":
        pass


async def _stop(tasks: tuple["asyncio.Future[Any]", ...]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # nobody is left to hear of it


ROUTES = (simulate,)
