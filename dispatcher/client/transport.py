"""HTTP towards the API: retries of what may be repeated, and problem documents as errors."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import httpx
import msgspec

from dispatcher.client.errors import PushpathError

RETRIED = frozenset({429, 502, 503, 504})

Sleep = Callable[[float], Awaitable[None]]


class Api:
    """One API address with one credential. *dice* and *sleep* are arguments so that tests need not wait."""

    def __init__(
        self,
        base_url: str,
        authorization: Callable[[], Awaitable[str]],
        *,
        timeout_s: float,
        attempts: int,
        client: httpx.AsyncClient | None = None,
        dice: Callable[[], float] = random.random,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._authorization = authorization
        self._attempts = attempts
        self._own = client is None
        self._client = client or httpx.AsyncClient(timeout=timeout_s)
        self._timeout = timeout_s
        self._dice = dice
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"Api({self._base})"

    async def close(self) -> None:
        if self._own:
            await self._client.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        body: Any = None,
        query: Mapping[str, str | int | None] | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
        attempts: int | None = None,
    ) -> Any:
        """The decoded answer. Every call of this API is idempotent, so what may help is tried again.

        *attempts*: tries at most, where not as many as usual. Waits between tries grow from 0.2 s with full jitter;
        Retry-After is obeyed up to 60 s. Raises :class:`PushpathError`.
        """
        content = msgspec.json.encode(body) if body is not None else None
        params = {name: value for name, value in (query or {}).items() if value is not None}
        error = PushpathError(0, "unreachable", "no attempt was made", retry=True)
        for attempt in range(attempts or self._attempts):
            if attempt:
                await self._sleep(self._pause(attempt, error))
            sent = {**(headers or {}), "Authorization": await self._authorization(), "Accept": "application/json"}
            if content is not None:
                sent["Content-Type"] = "application/json"
            try:
                reply = await self._client.request(
                    method,
                    self._base + path,
                    content=content,
                    params=params,
                    headers=sent,
                    timeout=timeout_s or self._timeout,
                )
            except httpx.TransportError as fault:
                error = PushpathError(0, "unreachable", f"{type(fault).__name__}: {fault}", retry=True)
                continue
            if reply.is_success:
                return msgspec.json.decode(reply.content) if reply.content else None
            error = _problem(reply)
            if not error.retry:
                raise error
        raise error

    def _pause(self, attempt: int, error: PushpathError) -> float:
        backoff: float = min(10.0, 0.2 * 2 ** (attempt - 1) * self._dice())
        wish = error.retry_after_s if isinstance(error, _Later) else None
        return backoff if wish is None else min(60.0, max(backoff, wish))


class _Later(PushpathError):
    retry_after_s: float | None = None


def _problem(reply: httpx.Response) -> PushpathError:
    try:
        document = msgspec.json.decode(reply.content, type=dict[str, Any])
    except msgspec.MsgspecError:
        document = {}
    error = _Later(
        reply.status_code,
        str(document.get("code") or reply.reason_phrase or "error"),
        str(document.get("detail") or ""),
        errors=[each for each in document.get("errors") or [] if isinstance(each, dict)],
        retry=reply.status_code in RETRIED,
    )
    after = reply.headers.get("retry-after", "")
    error.retry_after_s = float(after) if after.isdigit() else None
    return error
