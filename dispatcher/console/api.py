"""The public HTTP API as an operator uses it: one shared connection pool, the person's own token."""

import asyncio
import json as json_text
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

#: A token is renewed when less than this is left of it and somebody still works with it.
RENEW_BEFORE = timedelta(minutes=15)


class ApiError(Exception):
    """The API said no, or did not answer (`status` 0). `detail` is a sentence for a person."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.retry_after_s = retry_after_s

    @property
    def away(self) -> bool:
        """Whether the API, or a store behind it, cannot be reached: waiting may help."""
        return self.status in {0, 502, 503, 504}

    @property
    def signed_out(self) -> bool:
        """Whether the operator must sign in again."""
        return self.status == 401

    def sentence(self) -> str:
        """What to show."""
        if self.status == 0:
            return "The API does not answer. The console tries again by itself."
        fields = "; ".join(f"{each.get('field')}: {each.get('message')}" for each in self.errors[:5])
        return fields or self.detail or f"The API answered {self.status}."


@dataclass(kw_only=True)
class Operator:
    """One signed-in person. The token never leaves this process."""

    login: str
    role: str
    apps: tuple[tuple[str, str], ...]
    all_apps: bool
    token: str = field(repr=False)
    expires_at: datetime
    app_id: str | None = None
    ended: bool = False

    def may(self, scope: str) -> bool:
        """Whether the role may change what *scope* is about. What is shown is not less guarded: the API judges."""
        return self.is_admin or (self.role == "editor" and scope == "strategies")

    @property
    def is_admin(self) -> bool:
        """Whether the role may do everything."""
        return self.role == "admin"

    def take(self, document: Mapping[str, Any]) -> None:
        """What the sessions route answered (now, or on renewal)."""
        self.login = document["login"]
        self.role = document["role"]
        self.apps = tuple((app["app_id"], app.get("name") or app["app_id"]) for app in document.get("apps", ()))
        self.all_apps = bool(document.get("all_apps"))
        self.expires_at = read_time(document["expires_at"])
        self.token = document.get("token", self.token)
        if self.app_id not in {app_id for app_id, _ in self.apps}:
            self.app_id = self.apps[0][0] if self.apps else None


def operator_from(document: Mapping[str, Any]) -> Operator:
    """From the answer of ``POST /v1/sessions``."""
    operator = Operator(login="", role="", apps=(), all_apps=False, token="", expires_at=datetime.now(UTC))
    operator.take(document)
    return operator


def read_time(text: str) -> datetime:
    """RFC 3339."""
    return datetime.fromisoformat(text)


class Api:
    """Calls for one operator (or for nobody yet). *now* is an argument so that tests can move it."""

    def __init__(
        self,
        client: httpx.AsyncClient,
        operator: Operator | None = None,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._client = client
        self._now = now
        self._renewing = asyncio.Lock()
        self.operator = operator

    async def get(self, path: str, *, timeout_s: float = 10.0, **query: Any) -> Any:
        """The decoded answer of a GET; parameters that are None are left out. Raises :class:`ApiError`."""
        return (await self.call("GET", path, query=query, timeout_s=timeout_s)).json()

    async def post(self, path: str, body: Any = None, *, timeout_s: float = 10.0) -> Any:
        """The decoded answer of a POST, None where it is empty. Raises :class:`ApiError`."""
        return _decoded(await self.call("POST", path, json=body, timeout_s=timeout_s))

    async def put(self, path: str, body: Any) -> Any:
        """The decoded answer of a PUT. Raises :class:`ApiError`."""
        return _decoded(await self.call("PUT", path, json=body))

    async def delete(self, path: str, **query: Any) -> None:
        """Raises :class:`ApiError`."""
        await self.call("DELETE", path, query=query)

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        text: str | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 10.0,
        token: str | None = None,
    ) -> httpx.Response:
        """One call; *token* instead of the operator's (a virtual phone's). Raises :class:`ApiError`."""
        sent = {**(headers or {}), **await self._rights(path, token)}
        params = {name: value for name, value in (query or {}).items() if value not in {None, ""}}
        content = text.encode() if text is not None else None
        if text is not None:
            sent.setdefault("Content-Type", "application/yaml")
        try:
            reply = await self._client.request(
                method, path, json=json, content=content, params=params, headers=sent, timeout=timeout_s
            )
        except httpx.TimeoutException:
            raise ApiError(0, "timeout", f"The API took longer than {timeout_s:g} s.") from None
        except httpx.HTTPError as error:
            raise ApiError(0, "unreachable", type(error).__name__) from None
        if reply.is_success:
            return reply
        raise self._refusal(reply, token)

    async def lines(self, path: str, body: Any, *, patience_s: float) -> AsyncGenerator[Any, None]:
        """A POST whose answer comes line by line (NDJSON), each decoded; ending the iteration hangs up.

        *patience_s*: how long nothing may come. Raises :class:`ApiError`.
        """
        headers = {**await self._rights(path, None), "Accept": "application/x-ndjson"}
        try:
            async with self._client.stream("POST", path, json=body, headers=headers, timeout=patience_s) as reply:
                if not reply.is_success:
                    await reply.aread()
                    raise self._refusal(reply, None)
                async for line in reply.aiter_lines():
                    yield json_text.loads(line)
        except httpx.TimeoutException:
            raise ApiError(0, "timeout", f"The API said nothing for {patience_s:g} s.") from None
        except httpx.HTTPError as error:
            raise ApiError(0, "unreachable", type(error).__name__) from None

    def _refusal(self, reply: httpx.Response, token: str | None) -> ApiError:
        """What was refused; a token that the API knows no more (a new password, a closed account) ends the session."""
        error = _problem(reply)
        if error.signed_out and token is None and self.operator is not None:
            self.operator.ended = True
        return error

    async def _rights(self, path: str, token: str | None) -> dict[str, str]:
        if token is not None:
            return {"Authorization": f"Bearer {token}"}
        operator = self.operator
        if operator is None:
            return {}
        if not path.startswith("/v1/sessions"):
            await self._renew_if_due(operator)
        rights = {"Authorization": f"Bearer {operator.token}"}
        return rights if operator.app_id is None else {**rights, "Pushpath-App": operator.app_id}

    async def sign_in(self, login: str, password: str, address: str | None = None) -> Operator:
        """Raises :class:`ApiError`: 401 wrong, 429 too often.

        *address*: the browser's, so that one person's tries do not shut out all; the API believes it where the
        console's own address is among its trusted proxies.
        """
        headers = {"X-Forwarded-For": address} if address else {}
        body = {"login": login, "password": password}
        return operator_from((await self.call("POST", "/v1/sessions", json=body, headers=headers)).json())

    async def sign_out(self) -> None:
        """Ends the token; says nothing where it had ended or the API is away: it ends by itself."""
        if self.operator is None or self.operator.ended:
            return
        self.operator.ended = True
        try:
            await self.call("DELETE", "/v1/sessions", timeout_s=3.0)
        except ApiError:
            return

    async def _renew_if_due(self, operator: Operator) -> None:
        async with self._renewing:
            if operator.ended:
                raise ApiError(401, "unauthenticated", "You have signed out.")
            if operator.expires_at - self._now() > RENEW_BEFORE:
                return
            try:
                operator.take(await self.post("/v1/sessions/renew"))
            except ApiError as error:
                # the old token may still be good for its last minutes
                if error.signed_out and operator.expires_at <= self._now():
                    raise


def _decoded(reply: httpx.Response) -> Any:
    return reply.json() if reply.content else None


def _problem(reply: httpx.Response) -> ApiError:
    try:
        document = reply.json()
    except ValueError:
        document = {}
    after = reply.headers.get("retry-after", "")
    return error_from(reply.status_code, document, retry_after_s=float(after) if after.isdigit() else None)


def error_from(status: int, document: Any, *, retry_after_s: float | None = None) -> ApiError:
    """From a problem document (RFC 9457), as far as it is one."""
    told = document if isinstance(document, dict) else {}
    return ApiError(
        status,
        str(told.get("code") or "error"),
        str(told.get("detail") or told.get("title") or f"The API answered {status}."),
        errors=[each for each in told.get("errors") or [] if isinstance(each, dict)],
        retry_after_s=retry_after_s,
    )
