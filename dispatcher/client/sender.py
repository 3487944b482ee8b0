"""The backend's side: dispatching messages and asking what became of them."""

import uuid
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from dispatcher.client.transport import Api

BATCH_MOST = 1_000


class Sender:
    """A client of the dispatch API with an API key.

    Repeating is safe: a message's id is its idempotency key, so a call whose answer was lost is simply made again, and
    the answer says ``duplicate``. Ids are made here where none is given.
    """

    def __init__(
        self,
        api_url: str,
        api_key: str,
        *,
        timeout_s: float = 10.0,
        attempts: int = 5,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        async def bearer() -> str:
            return f"Bearer {api_key}"

        self._api = Api(api_url, bearer, timeout_s=timeout_s, attempts=attempts, client=client)

    def __repr__(self) -> str:
        return f"Sender({self._api!r})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._api.close()

    async def send(
        self,
        *user_ids: str,
        title: str | None = None,
        body: str | None = None,
        message_id: str | None = None,
        **content: Any,
    ) -> dict[str, Any]:
        """Dispatches one message; *content*: any further member of ``POST /v1/messages`` (``klass`` for class).

        Answers ``{message_id, accepted_at, recipients, duplicate}``. Raises :class:`PushpathError`.
        """
        message: dict[str, Any] = {"message_id": message_id or new_message_id(), "to": {"user_ids": list(user_ids)}}
        if title is not None or body is not None:
            message["notification"] = {
                name: text for name, text in (("title", title), ("body", body)) if text is not None
            }
        if "klass" in content:
            content["class"] = content.pop("klass")
        message.update(content)
        return await self.dispatch(message)

    async def dispatch(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """``POST /v1/messages`` with the document as it is."""
        answer: dict[str, Any] = await self._api.call("POST", "/v1/messages", body=dict(message))
        return answer

    async def dispatch_many(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Results in order, each on its own, over as many requests of 1,000 as it takes."""
        results: list[dict[str, Any]] = []
        for start in range(0, len(messages), BATCH_MOST):
            part = [dict(message) for message in messages[start : start + BATCH_MOST]]
            answer = await self._api.call("POST", "/v1/messages/batch", body={"messages": part})
            results += answer["results"]
        return results

    async def state(self, message_id: str) -> dict[str, Any]:
        """The message's state with its deliveries and tracks."""
        answer: dict[str, Any] = await self._api.call("GET", f"/v1/messages/{_part(message_id)}")
        return answer

    async def timeline(self, message_id: str, user_id: str | None = None) -> list[dict[str, Any]]:
        """What happened to it, in order."""
        path = f"/v1/messages/{_part(message_id)}/timeline"
        answer = await self._api.call("GET", path, query={"user_id": user_id})
        events: list[dict[str, Any]] = answer["events"]
        return events

    async def recall(self, message_id: str) -> None:
        """Takes it back where it is not too late."""
        await self._api.call("POST", f"/v1/messages/{_part(message_id)}/recall")

    async def put_user(self, user_id: str, **facts: Any) -> None:
        """``PUT /v1/users/{user_id}``."""
        await self._api.call("PUT", f"/v1/users/{_part(user_id)}", body=facts)

    async def device_token(self, user_id: str, device_id: str, ttl: str | None = None) -> dict[str, Any]:
        """A device token for a phone: ``{token, expires_at, gateways}``."""
        wish = {"user_id": user_id, "device_id": device_id} | ({"ttl": ttl} if ttl else {})
        answer: dict[str, Any] = await self._api.call("POST", "/v1/device-tokens", body=wish)
        return answer


def new_message_id() -> str:
    """A message id nobody else makes."""
    return f"cm-{uuid.uuid4().hex}"


def _part(text: str) -> str:
    return quote(text, safe="")
