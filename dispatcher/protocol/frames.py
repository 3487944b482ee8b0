"""The frames both ends speak: a closed set tagged by ``t``, as JSON text or MessagePack.

What a device sends is refused by name where it has unknown fields. What a server sends may grow: apps stay installed
for years, so a device ignores fields and frames it does not know.
"""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta, Struct

MAX_FRAME = 64 * 1024  #: bytes of one message on the line, either way

JSON_SUBPROTOCOL: Final = "pushpath.v1.json"
MSGPACK_SUBPROTOCOL: Final = "pushpath.v1.msgpack"

#: An id as a device words it: what it names, and whether it names anything, is for the receiver to find out.
Id = Annotated[str, Meta(min_length=1, max_length=128)]
Attention = Literal["foreground", "background"]


class _ClientFrame(Struct, tag_field="t", forbid_unknown_fields=True, frozen=True, gc=False, omit_defaults=True):
    """Something a device says."""


class Hello(_ClientFrame, tag="hello", frozen=True, kw_only=True):
    """The first frame, within 5 s."""

    token: str
    cursor: str | None = None
    state: Attention = "foreground"

    def __repr__(self) -> str:
        return f"Hello(cursor={self.cursor}, state={self.state})"


class Ack(_ClientFrame, tag="ack", frozen=True):
    """Receipts. ``ids``: delivery or message ids."""

    ids: list[Id]
    event: Literal["delivered", "displayed", "opened"] = "delivered"


class State(_ClientFrame, tag="state", frozen=True):
    """The app came to the foreground or left it."""

    state: Attention


class Ping(_ClientFrame, tag="ping", frozen=True):
    """Heartbeat. ``next_s``: how long the device means to stay silent, if it chooses its own interval."""

    next_s: Annotated[int, Meta(ge=1, le=86_400)] | None = None


class Token(_ClientFrame, tag="token", frozen=True):
    """A fresh token before the old one ends."""

    token: str

    def __repr__(self) -> str:
        return "Token(...)"


ClientFrame = Hello | Ack | State | Ping | Token


class _ServerFrame(Struct, tag_field="t", frozen=True, omit_defaults=True):
    """Something the gateway says."""


class Welcome(_ServerFrame, tag="welcome", frozen=True):
    session: str
    heartbeat_s: int


class Msg(_ServerFrame, tag="msg", frozen=True, rename={"klass": "class"}, kw_only=True):
    """One message; catch-up, then live, per user in cursor order."""

    cursor: str
    delivery_id: str
    attempt_id: str
    message_id: str
    klass: str
    notification: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    sent_at: str = ""


class CaughtUp(_ServerFrame, tag="caught_up", frozen=True, omit_defaults=False):
    """The device counts as online from here. ``more``: older ones wait in the inbox."""

    cursor: str
    more: bool


class Pong(_ServerFrame, tag="pong", frozen=True):
    """``heartbeat_s``: the next interval."""

    heartbeat_s: int


class Recall(_ServerFrame, tag="recall", frozen=True):
    """Remove it from the screen."""

    message_id: str


class Bye(_ServerFrame, tag="bye", frozen=True):
    """Why the line ends now, and when to come back."""

    code: str
    retry_after_s: int | None = None


ServerFrame = Welcome | Msg | CaughtUp | Pong | Recall | Bye


class Unparsable(ValueError):
    """No frame of this protocol."""


class Codec:
    """One subprotocol. ``name`` is what the handshake agrees on; ``text``: its messages are WebSocket text."""

    __slots__ = ("_client", "_encode", "_server", "name", "text")

    def __init__(self, name: str, text: bool) -> None:
        self.name = name
        self.text = text
        encoder = msgspec.json.Encoder() if text else msgspec.msgpack.Encoder()
        self._encode = encoder.encode
        self._client = msgspec.json.Decoder(ClientFrame) if text else msgspec.msgpack.Decoder(ClientFrame)
        self._server = msgspec.json.Decoder(ServerFrame) if text else msgspec.msgpack.Decoder(ServerFrame)

    def encode(self, frame: ClientFrame | ServerFrame) -> bytes:
        """The payload of *frame*."""
        return self._encode(frame)

    def client_frame(self, payload: bytes) -> ClientFrame:
        """What a device sent; raises :class:`Unparsable`."""
        try:
            frame: ClientFrame = self._client.decode(payload)
            return frame
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unparsable(str(error)) from None

    def server_frame(self, payload: bytes) -> ServerFrame:
        """What a gateway sent; raises :class:`Unparsable`."""
        try:
            frame: ServerFrame = self._server.decode(payload)
            return frame
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise Unparsable(str(error)) from None

    def message(self, cursor: str, delivery_id: str, attempt_id: str, body: bytes) -> bytes:
        """A ``msg`` frame. *body*: the JSON members its producer encoded once; passed through, or transcoded."""
        head = f'{{"t":"msg","cursor":"{cursor}","delivery_id":"{delivery_id}","attempt_id":"{attempt_id}",'
        text = b"%b%b}" % (head.encode(), body)
        return text if self.text else self._encode(msgspec.json.decode(text))


JSON: Final = Codec(JSON_SUBPROTOCOL, text=True)
MSGPACK: Final = Codec(MSGPACK_SUBPROTOCOL, text=False)
CODECS: Final = {JSON_SUBPROTOCOL: JSON, MSGPACK_SUBPROTOCOL: MSGPACK}
