"""The opening handshake without I/O, both ends (RFC 6455, 4)."""

import re
from base64 import b64encode
from binascii import b2a_base64
from hashlib import sha1

from dispatcher.protocol.frames import CODECS, JSON, Codec
from dispatcher.protocol.http import MAX_HEAD, BadRequest, Request

_MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
_KEY_FIELD = b"\r\nSec-WebSocket-Key: "
_KEY = re.compile(rb"[A-Za-z0-9+/]{21}[AQgw]==\Z")  # the base64 of 16 bytes


class HandshakeFailed(ConnectionError):
    """The server did not upgrade. ``status``: its answer, 0 where it was no HTTP; ``retry_after_s``: its wish."""

    def __init__(self, status: int, reason: str, retry_after_s: int | None = None) -> None:
        super().__init__(f"{status} {reason}".strip())
        self.status = status
        self.retry_after_s = retry_after_s


def accept_key(key: bytes) -> bytes:
    """``Sec-WebSocket-Accept`` for a client's key (4.2.2)."""
    return b2a_base64(sha1(key + _MAGIC, usedforsecurity=False).digest(), newline=False)


def answer_upgrade(request: Request) -> tuple[bytes, Codec]:
    """The 101 for *request* and the subprotocol agreed on; raises :class:`BadRequest`.

    A client that names no subprotocol gets JSON; one that names only unknown ones is refused.
    """
    if "websocket" not in request.tokens("upgrade") or "upgrade" not in request.tokens("connection"):
        raise BadRequest(426, "this address speaks WebSocket")
    if request.fields.get("sec-websocket-version") != "13":
        raise BadRequest(426, "WebSocket version 13 is spoken here")
    key = request.fields.get("sec-websocket-key", "").encode("latin-1")
    if _KEY.match(key) is None:
        raise BadRequest(400, "Sec-WebSocket-Key is not 16 bytes of base64")
    offered = [part.strip() for part in request.fields.get("sec-websocket-protocol", "").split(",") if part.strip()]
    codec = next((CODECS[name] for name in offered if name in CODECS), None)
    if offered and codec is None:
        raise BadRequest(400, f"subprotocols spoken here: {', '.join(CODECS)}")
    chosen = f"Sec-WebSocket-Protocol: {codec.name}\r\n" if codec else ""
    return b"%b%b\r\n%b\r\n" % (_SWITCHING, accept_key(key), chosen.encode()), codec or JSON


class Upgrades:
    """Heads of upgrade requests seen before. A fleet's apps all send the same one but for the key, so a reconnect storm
    is answered without parsing it twenty thousand times a second.

    Only what was parsed and agreed to in full is kept, whole, up to 256 heads of 1 KiB; the key is checked every time.
    """

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Request, Codec, bytes]] = {}

    def answer(self, data: bytes) -> tuple[Request, bytes, Codec, int] | None:
        """Request, 101, codec and the head's length, where *data* begins with a head of a known shape."""
        cut = _cut(data)
        if cut is None:
            return None
        key, shape, used = cut
        known = self._known.get(shape)
        if known is None or _KEY.match(key) is None:
            return None
        request, codec, tail = known
        return request, b"%b%b%b" % (_SWITCHING, accept_key(key), tail), codec, used

    def keep(self, data: bytes, request: Request, head: bytes, codec: Codec) -> None:
        """Remembers that *request*, read from *data*, was answered with *head*."""
        cut = _cut(data)
        if cut is not None and head.startswith(_SWITCHING):
            if len(self._known) >= 256:
                self._known.clear()
            self._known[cut[1]] = (request, codec, head[len(_SWITCHING) + 28 :])


def _cut(data: bytes) -> tuple[bytes, bytes, int] | None:
    """A head's key, the head without it, and its length."""
    end = data.find(b"\r\n\r\n", 0, 1_024) + 4
    at = data.find(_KEY_FIELD, 0, end) + len(_KEY_FIELD)
    if end < 4 or at < len(_KEY_FIELD) or data[at + 24 : at + 26] != b"\r\n":
        return None
    return data[at : at + 24], data[:at] + data[at + 24 : end], end


def ask_upgrade(host: str, target: str, key: bytes, codec: Codec) -> bytes:
    """A client's request. *key*: 16 random bytes."""
    return (
        f"GET {target} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: {b64encode(key).decode()}\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {codec.name}\r\n\r\n"
    ).encode()


def read_upgrade(data: bytes | bytearray, key: bytes, codec: Codec) -> int | None:
    """The length of the server's 101 in *data*, None while it is not whole; raises :class:`HandshakeFailed`."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        if len(data) > MAX_HEAD:
            raise HandshakeFailed(0, "the answer's head is too large")
        return None
    lines = bytes(data[:end]).decode("latin-1").split("\r\n")
    version, _, rest = lines[0].partition(" ")
    status, _, reason = rest.partition(" ")
    if not version.startswith("HTTP/1.") or not status.isdigit():
        raise HandshakeFailed(0, "no HTTP answer")
    pairs = (line.partition(":") for line in lines[1:])
    fields = {name.strip().lower(): value.strip() for name, _, value in pairs}
    if status != "101":
        after = fields.get("retry-after", "")
        raise HandshakeFailed(int(status), reason, int(after) if after.isdigit() else None)
    if fields.get("sec-websocket-accept", "").encode("latin-1") != accept_key(b64encode(key)):
        raise HandshakeFailed(101, "the server did not prove that it speaks WebSocket")
    if fields.get("sec-websocket-protocol") != codec.name or "sec-websocket-extensions" in fields:
        raise HandshakeFailed(101, "the server chose what was not offered")
    return end + 4
