"""What reached virtual phones in the simulators: pushes by token, texts by number."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import Mapping
from typing import Any

import httpx

_KEPT = 50
_PAGE = 1_000


class SandboxWatch:
    """Reads the simulators' append-only logs once for all open phone labs."""

    def __init__(self, base_url: str | None, client: httpx.AsyncClient) -> None:
        self._base = base_url
        self._client = client
        self._read = {"apns": 0, "fcm": 0}
        self._pushes: dict[str, deque[Mapping[str, Any]]] = defaultdict(lambda: deque(maxlen=_KEPT))
        self._turn = asyncio.Lock()

    @property
    def there(self) -> bool:
        """Whether a sandbox is configured."""
        return self._base is not None

    async def pushes(self, tokens: list[str]) -> list[Mapping[str, Any]]:
        """Pushes to *tokens* so far, oldest first; each with `token`, `n` and what the phone would be handed."""
        if self._base is None:
            return []
        async with self._turn:
            for end in self._read:
                await self._follow(end)
        return [push for token in tokens for push in self._pushes.get(token, ())]

    async def texts(self, number: str) -> list[Mapping[str, Any]]:
        """Texts that the simulated carrier put on the phone with *number*."""
        if self._base is None:
            return []
        answer = await self._ask("/control/sms/outbox", to=number)
        found: list[Mapping[str, Any]] = answer.get("texts", [])
        return found

    async def _follow(self, end: str) -> None:
        while True:
            page = (await self._ask(f"/control/{end}/requests", after=self._read[end])).get("requests", [])
            for request in page:
                if request["answer"] is None:
                    return  # still being answered: read again from here
                self._read[end] = request["n"]
                push = read_push(end, request)
                if push is not None:
                    self._pushes[push["token"]].append(push)
            if len(page) < _PAGE:
                return

    async def _ask(self, path: str, **query: Any) -> dict[str, Any]:
        try:
            reply = await self._client.get(f"{self._base}{path}", params=query, timeout=3.0)
            found = reply.json() if reply.is_success else {}
        except (httpx.HTTPError, ValueError):
            return {}  # the lab goes on without the simulators
        return found if isinstance(found, dict) else {}


def read_push(end: str, request: Mapping[str, Any]) -> dict[str, Any] | None:
    """A logged request as the phone sees it; None where the end refused it or it is no push."""
    if request["answer"]["status"] != 200 or not request.get("target"):
        return None
    try:
        body = json.loads(request["body"])
        if end == "apns":
            alert = (body.get("aps") or {}).get("alert") or {}
            shown, ids = alert if isinstance(alert, dict) else {"body": alert}, body.get("pushpath") or {}
        else:
            shown = body["message"].get("data") or {}
            shown = {**shown, **(body["message"].get("notification") or {})}
            ids = json.loads(shown.get("pushpath") or "{}")
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return {
        "token": request["target"],
        "n": request["n"],
        "path": end,
        "at": request["at"],
        "title": shown.get("title") or "",
        "body": shown.get("body") or "",
        "message_id": ids.get("message_id"),
        "delivery_id": ids.get("delivery_id"),
        "attempt_id": ids.get("attempt_id"),
        "clears": bool(ids.get("recall") or ids.get("clear") or shown.get("pushpath_recall")),
    }
