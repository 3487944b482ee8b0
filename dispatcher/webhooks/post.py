"""POSTs to receivers over httpx: to the address that was judged, under the name that was asked for.

Failure policy: a receiver may hang, lie, redirect or send gigabytes; it costs one slot for :data:`DEADLINE_S` and a
kilobyte. Nothing of what it answers is kept but the status.
"""

import asyncio
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx

from dispatcher.domain.clock import HOUR, SECOND, Millis
from dispatcher.ports.webhooks import Reply
from dispatcher.webhooks.targets import BadTarget, Unresolved, read_target, resolve

DEADLINE_S = 10.0
MAX_RETRY_AFTER: Millis = HOUR
MAX_ANSWER = 16 * 1024  #: bytes read of an answer
MAX_CLIENTS = 256


class HttpPoster:
    """The port :class:`~dispatcher.ports.webhooks.Poster`. *private*: settings allow private targets."""

    def __init__(self, *, private: bool, deadline_s: float = DEADLINE_S) -> None:
        self._private = private
        self._deadline_s = deadline_s
        self._trust = ssl.create_default_context()
        self._clients: dict[tuple[str, str, int], httpx.AsyncClient] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """See the port."""
        try:
            async with asyncio.timeout(self._deadline_s):
                return await self._post(url, headers, body)
        except TimeoutError:
            return Reply(status=0, error="timeout")
        except BadTarget as bad:
            return Reply(status=0, error=str(bad))
        except Unresolved:
            return Reply(status=0, error="the name has no address")
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ssl.SSLError) as error:
            return Reply(status=0, error=type(error).__name__)

    async def _post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        target = read_target(url)
        address = await resolve(target, private=self._private)
        shown = f"[{address}]" if ":" in address else address
        client = await self._client(target.host, address, target.port)
        async with client.stream(
            "POST",
            f"{target.scheme}://{shown}:{target.port}{target.path}",
            content=body,
            headers={"host": target.authority, "content-type": "application/json", **headers},
            extensions={"sni_hostname": target.host},
        ) as reply:
            status = reply.status_code
            error = "a redirect is not followed" if reply.is_redirect else f"HTTP {status}"
            size = 0
            async for chunk in reply.aiter_raw():  # read, so that the connection can be used again
                size += len(chunk)
                if size > MAX_ANSWER:
                    break
            return Reply(
                status=status,
                error=None if reply.is_success else error,
                retry_after=_retry_after(reply.headers.get("retry-after", "")),
            )

    async def _client(self, host: str, address: str, port: int) -> httpx.AsyncClient:
        """Connections are kept per name and address: a certificate is checked for one name only."""
        key = (host, address, port)
        client = self._clients.pop(key, None)
        if client is not None:
            self._clients[key] = client  # the one used last stands last
        else:
            if len(self._clients) >= MAX_CLIENTS:
                await self._clients.pop(next(iter(self._clients))).aclose()
            client = self._clients[key] = httpx.AsyncClient(
                verify=self._trust,
                trust_env=False,
                follow_redirects=False,
                timeout=self._deadline_s,
                limits=httpx.Limits(max_connections=8, max_keepalive_connections=2, keepalive_expiry=15),
                headers={"user-agent": "pushpath-webhooks", "accept": "*/*", "accept-encoding": "identity"},
            )
        return client

    async def close(self) -> None:
        """Ends every connection."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()


def _retry_after(text: str) -> Millis | None:
    return min(int(text) * SECOND, MAX_RETRY_AFTER) if text.isdigit() and len(text) < 8 else None
