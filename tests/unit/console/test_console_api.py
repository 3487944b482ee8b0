"""The console's calls: whose token goes out, when it is renewed, what is told about refusals."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

os.environ.setdefault("NICEGUI_STORAGE_PATH", tempfile.gettempdir())  # read once, when NiceGUI is imported

from dispatcher.console.api import Api, ApiError, operator_from
from dispatcher.console.pages.strategy_trial import compared
from dispatcher.console.sessions import Sessions
from dispatcher.console.settings import console_settings

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def _document(minutes: int = 60, token: str | None = None) -> dict[str, object]:
    return {
        "token": token or "ps_one",
        "login": "mei",
        "role": "editor",
        "scopes": ["strategies"],
        "apps": [{"app_id": "shop", "name": "Shop"}, {"app_id": "chat", "name": "Chat"}],
        "all_apps": False,
        "expires_at": (NOW + timedelta(minutes=minutes)).isoformat(),
    }


def _client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url="http://api", transport=httpx.MockTransport(answer))


async def test_calls_carry_the_persons_token_and_the_chosen_app() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    operator = operator_from(_document())
    operator.app_id = "chat"
    async with _client(answer) as client:
        await Api(client, operator, now=lambda: NOW).get("/v1/stats", by="time", step=None)
    assert seen[0].headers["authorization"] == "Bearer ps_one"
    assert seen[0].headers["pushpath-app"] == "chat"
    assert str(seen[0].url) == "http://api/v1/stats?by=time"


async def test_a_token_near_its_end_is_renewed_once_and_the_new_one_used() -> None:
    seen: list[tuple[str, str]] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append((request.url.path, request.headers["authorization"]))
        return (
            httpx.Response(201, json=_document(token="ps_two"))
            if "sessions" in request.url.path
            else httpx.Response(200, json={})
        )

    async with _client(answer) as client:
        api = Api(client, operator_from(_document(minutes=5)), now=lambda: NOW)
        await api.get("/v1/books")
        await api.get("/v1/books")
    assert seen == [
        ("/v1/sessions/renew", "Bearer ps_one"),
        ("/v1/books", "Bearer ps_two"),
        ("/v1/books", "Bearer ps_two"),
    ]


async def test_after_signing_out_nothing_goes_out_any_more() -> None:
    async with _client(lambda request: httpx.Response(204)) as client:
        api = Api(client, operator_from(_document()), now=lambda: NOW)
        await api.sign_out()
        with pytest.raises(ApiError) as refused:
            await api.get("/v1/books")
    assert refused.value.signed_out


async def test_a_token_that_the_api_knows_no_more_ends_the_session_but_a_phones_does_not() -> None:
    async with _client(lambda request: httpx.Response(401, json={"code": "unauthenticated"})) as client:
        sessions = Sessions(client, now=lambda: NOW)
        number = sessions.open(operator_from(_document()))
        api = sessions.find(number)
        assert api is not None
        with pytest.raises(ApiError):
            await api.call("GET", "/v1/inbox", token="of-a-phone")
        assert sessions.find(number) is api
        with pytest.raises(ApiError):
            await api.get("/v1/books")
        assert sessions.find(number) is None


async def test_an_api_that_does_not_answer_is_away_not_wrong() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    async with _client(answer) as client:
        with pytest.raises(ApiError) as fault:
            await Api(client).get("/healthz")
    assert fault.value.away
    assert "does not answer" in fault.value.sentence()


async def test_refusals_name_the_fields() -> None:
    body = {"code": "invalid", "detail": "not valid", "errors": [{"field": "to", "message": "name a user"}]}
    async with _client(lambda request: httpx.Response(422, json=body)) as client:
        with pytest.raises(ApiError) as fault:
            await Api(client).post("/v1/messages", {})
    assert fault.value.sentence() == "to: name a user"


def test_a_token_never_prints_itself() -> None:
    assert "ps_one" not in repr(operator_from(_document()))


async def test_a_session_is_found_until_its_token_ends_or_it_is_closed() -> None:
    moment = [NOW]
    async with _client(lambda request: httpx.Response(204)) as client:
        sessions = Sessions(client, now=lambda: moment[0])
        first, second = sessions.open(operator_from(_document())), sessions.open(operator_from(_document()))
        assert sessions.find(first) is not None
        sessions.close(first)
        assert sessions.find(first) is None
        moment[0] += timedelta(hours=2)
        assert sessions.find(second) is None
        assert sessions.find(None) is None


def test_the_cookie_secret_is_made_once_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    settings = console_settings({"console_dir": str(tmp_path / "console")})
    secret = settings.cookie_secret()
    assert settings.cookie_secret() == secret
    assert len(secret) >= 48
    assert (tmp_path / "console" / "cookie-secret").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("values", [{"console_port": "x"}, {"console_port": 0}, {"console_api_url": "ftp://api"}])
def test_settings_that_cannot_be_used_are_refused_by_name(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(values))):
        console_settings(values)


async def test_lines_come_as_they_are_told_and_a_refusal_is_one() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept"] == "application/x-ndjson"
        if request.url.path == "/v1/refused":
            return httpx.Response(422, json={"code": "invalid", "detail": "since lies behind until"})
        return httpx.Response(200, text='{"done": 1, "total": 2}\n{"result": {"decisions": 2}}\n')

    async with _client(answer) as client:
        api = Api(client, operator_from(_document()), now=lambda: NOW)
        told = [line async for line in api.lines("/v1/strategies/simulate", {}, patience_s=1)]
        with pytest.raises(ApiError) as refused:
            [line async for line in api.lines("/v1/refused", {}, patience_s=1)]
    assert told == [{"done": 1, "total": 2}, {"result": {"decisions": 2}}]
    assert refused.value.sentence() == "since lies behind until"


class _Endless(httpx.AsyncByteStream):
    """A line, then nothing; knows whether its reader hung up."""

    left = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b'{"done": 1, "total": 9}\n'
        await asyncio.Event().wait()

    async def aclose(self) -> None:
        self.left = True


async def test_cancelling_a_trial_hangs_up() -> None:
    endless, begun = _Endless(), asyncio.Event()
    async with _client(lambda request: httpx.Response(200, stream=endless)) as client:
        api = Api(client, operator_from(_document()), now=lambda: NOW)
        task = asyncio.create_task(compared(api, {}, lambda done, total: begun.set()))
        await asyncio.wait_for(begun.wait(), 5)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert endless.left
