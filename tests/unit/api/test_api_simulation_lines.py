"""A trial on recorded traffic: told as it goes, ended when its caller leaves or the process drains."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import pytest

from dispatcher.api.routes import simulation
from dispatcher.errors import Problem

BODY = {"strategy": "strategy: chat\n", "since": "2026-01-01T00:00:00Z", "until": "2026-01-02T00:00:00Z"}
LINES = {"Accept": "application/x-ndjson"}


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "EVERY_S", 0.01)


def _lines(answer: httpx.Response) -> list[Any]:
    return [json.loads(line) for line in answer.text.splitlines()]


async def _ask(client: httpx.AsyncClient, **headers: str) -> httpx.Response:
    return await client.post("/v1/strategies/simulate", json=BODY, headers=headers)


def _in_steps(core: Any, end: Callable[[], Mapping[str, Any]]) -> None:
    async def trial(progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        for done in range(0, 101, 10):
            progress(done, 100)
            await asyncio.sleep(0.01)
        return end()

    core.trial = trial


async def test_progress_comes_in_lines_and_the_result_last(client: httpx.AsyncClient, core: Any) -> None:
    _in_steps(core, lambda: {"decisions": 100})
    answer = await _ask(client, **LINES)
    *progress, last = _lines(answer)
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert last == {"result": {"decisions": 100}}
    told = [line["done"] for line in progress]
    assert told == sorted(told)
    assert told
    assert {line["total"] for line in progress} == {100}


async def test_who_accepts_no_lines_gets_json_at_the_end(client: httpx.AsyncClient, core: Any) -> None:
    _in_steps(core, lambda: {"decisions": 100})
    answer = await _ask(client)
    assert (answer.headers["content-type"], answer.json()) == ("application/json", {"decisions": 100})


async def test_what_is_refused_at_once_is_a_plain_problem(client: httpx.AsyncClient, core: Any) -> None:
    async def refuse(progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        raise Problem.invalid("rules", "write some")

    core.trial = refuse
    for headers in ({}, LINES):
        answer = await _ask(client, **headers)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")


async def test_what_fails_under_way_is_the_last_line(client: httpx.AsyncClient, core: Any) -> None:
    def fail() -> Mapping[str, Any]:
        raise Problem.unavailable("the ledger is away")

    _in_steps(core, fail)
    last = _lines(await _ask(client, **LINES))[-1]
    assert (last["problem"]["status"], last["problem"]["detail"]) == (503, "the ledger is away")


@pytest.mark.parametrize("lines", [True, False])
async def test_a_trial_ends_when_its_caller_hangs_up(open_door: Any, core: Any, lines: bool) -> None:
    begun, ended = asyncio.Event(), asyncio.Event()

    async def endless(progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return {}

    core.trial = endless
    async with open_door({"Authorization": "Bearer all"}) as client:
        app = client._transport.app
        body = iter([{"type": "http.request", "body": json.dumps(BODY).encode(), "more_body": False}])

        async def receive() -> dict[str, Any]:
            if (event := next(body, None)) is not None:
                return event
            await begun.wait()
            return {"type": "http.disconnect"}

        sent: list[Any] = []

        async def send(event: Any) -> None:
            sent.append(event)

        headers = [(b"authorization", b"Bearer all"), (b"content-type", b"application/json")]
        headers += [(b"accept", b"application/x-ndjson")] if lines else []
        path = "/v1/strategies/simulate"
        scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
        }
        scope |= {"headers": headers, "client": ("10.0.0.1", 1), "http_version": "1.1", "root_path": ""}
        scope |= {"scheme": "http", "server": ("api", 80), "state": {}, "extensions": {}}
        await asyncio.wait_for(app(scope, receive, send), 5)
    assert ended.is_set()
    assert [event for event in sent if event["type"] == "http.response.body" and not event["more_body"]] == []


async def test_a_draining_process_sends_a_trial_away(client: httpx.AsyncClient, core: Any) -> None:
    async def endless(progress: Callable[[int, int], None]) -> Mapping[str, Any]:
        core.draining.set()
        await asyncio.Event().wait()
        return {}

    core.trial = endless
    answer = await _ask(client)
    assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
