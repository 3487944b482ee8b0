"""twilio's asynchronous HTTP client on our transport, with its base URL where we say."""

import logging
from base64 import b64encode
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any
from urllib.parse import urlencode, urlsplit

from twilio.http import AsyncHttpClient
from twilio.http.response import Response

from dispatcher.domain.clock import Millis
from providers.http2 import Transport, request

#: Retry-After of the answer that the library turned into its exception, which drops headers.
retry_after_ms: ContextVar[Millis | None] = ContextVar("retry_after_ms", default=None)


class TransportHttpClient(AsyncHttpClient):  # type: ignore[misc]
    """One try a call, nothing logged: addresses and texts are private. Raises TransportFault."""

    def __init__(self, transport: Transport, base_url: str | None, deadline_ms: Millis) -> None:
        super().__init__(logging.getLogger("providers.sms"), True, deadline_ms / 1_000)
        self._transport = transport
        self._base_url = base_url.rstrip("/") if base_url else None
        self._deadline_ms = deadline_ms

    async def request(
        self,
        method: str,
        url: str,
        params: Mapping[str, object] | None = None,
        data: Mapping[str, object] | None = None,
        headers: Mapping[str, str] | None = None,
        auth: tuple[str, str] | None = None,
        timeout: float | None = None,  # noqa: ASYNC109 - the library's signature
        allow_redirects: bool = False,
    ) -> Response:
        """See the library's class."""
        if self._base_url is not None:
            split = urlsplit(url)
            url = f"{self._base_url}{split.path}" + (f"?{split.query}" if split.query else "")
        if params:
            url += ("&" if "?" in url else "?") + urlencode(params, doseq=True)
        fields = [(name.lower(), value) for name, value in (headers or {}).items()]
        if auth is not None:
            pair = b64encode(f"{auth[0]}:{auth[1]}".encode()).decode()
            fields.append(("authorization", f"Basic {pair}"))
        body = urlencode(data, doseq=True).encode() if data else b""
        deadline_ms = int(timeout * 1_000) if timeout else self._deadline_ms
        reply = await request(self._transport, method.upper(), url, fields, body, deadline_ms=deadline_ms)
        retry_after_ms.set(reply.retry_after_ms)
        replied: Any = Response(reply.status, reply.body.decode("utf-8", "replace"), reply.headers)
        return replied

    async def close(self) -> None:
        """Nothing of its own: the transport is closed by whoever made it."""
