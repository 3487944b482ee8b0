"""HTTP answers as bytes. Errors are RFC 9457 problem documents, as at the API."""

from typing import Final

import msgspec

_REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    413: "Content Too Large",
    422: "Unprocessable Content",
    426: "Upgrade Required",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


def answer(status: int, body: bytes, *, keep_alive: bool, kind: str = "application/json", more: str = "") -> bytes:
    """A whole answer. *more*: further fields, each with its line end."""
    close = "" if keep_alive else "Connection: close\r\n"
    head = (
        f"HTTP/1.1 {status} {_REASONS.get(status, 'Error')}\r\nContent-Type: {kind}\r\n"
        f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\n{more}{close}\r\n"
    )
    return head.encode() + body


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    keep_alive: bool = False,
    errors: list[tuple[str, str]] | None = None,
    retry_after_s: int | None = None,
) -> bytes:
    """An RFC 9457 answer. *errors*: (field, message) pairs."""
    document = {
        "type": "about:blank",
        "title": _REASONS.get(status, "Error"),
        "status": status,
        "detail": detail,
        "code": code,
        "errors": [{"field": field, "message": message} for field, message in errors or ()],
    }
    more = f"Retry-After: {retry_after_s}\r\n" if retry_after_s is not None else ""
    if status == 401:
        more += "WWW-Authenticate: Bearer\r\n"
    if status == 426:
        more += "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    if status == 405:
        more += "Allow: GET\r\n"
    body = msgspec.json.encode(document)
    return answer(status, body, keep_alive=keep_alive, kind="application/problem+json", more=more)
