"""Cross-origin requests (https://fetch.spec.whatwg.org/#http-cors-protocol): which pages' scripts may call this API.

Callers authenticate by a header that only they set, never by cookies; so nothing is told of credentials, and an origin
that is not listed simply gets no word of permission.
"""

from collections.abc import Iterable

from litestar.types import Message, Scope, Send

_METHODS = b"GET, PUT, POST, DELETE"
_HEADERS = b"authorization, content-type, if-match, if-none-match, pushpath-app, traceparent, tracestate"
_SHOWN = b"etag, retry-after"
_REMEMBERED_S = b"7200"
ANY = "*"
Headers = list[tuple[bytes, bytes]]


class Cors:
    """The origins that are let in; ``*`` stands for any."""

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origin.rstrip("/").encode() for origin in origins)
        self._any = ANY.encode() in self._origins

    def permission(self, scope: Scope) -> Headers:
        """What an answer to this request carries. Caches must tell origins apart, also where one was refused."""
        origin = _header(scope, b"origin")
        vary = [(b"vary", b"origin")]
        if origin is None or not (self._any or origin in self._origins):
            return vary
        return [(b"access-control-allow-origin", origin), (b"access-control-expose-headers", _SHOWN), *vary]

    async def preflight(self, scope: Scope, send: Send) -> bool:
        """Answers a browser that asks before it calls; False where it does not ask."""
        if scope.get("method") != "OPTIONS" or _header(scope, b"access-control-request-method") is None:
            return False
        headers: Headers = []
        if len(self.permission(scope)) > 1:  # the permission itself is added to every answer
            headers += [
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-allow-headers", _HEADERS),
                (b"access-control-max-age", _REMEMBERED_S),
            ]
        await send({"type": "http.response.start", "status": 204, "headers": headers})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


def permitting(permission: Headers, message: Message) -> Message:
    """The start of an answer with the permission added."""
    if message["type"] == "http.response.start":
        message["headers"] = [*message.get("headers", ()), *permission]
    return message


def _header(scope: Scope, name: bytes) -> bytes | None:
    return next((value for key, value in scope["headers"] if key == name), None)
