"""What sessions ask of the loop around them. Values; nothing here does anything."""

from collections.abc import Sequence

from msgspec import Struct

from dispatcher.domain.delivery import Proof
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.frames import ClientFrame, Msg, ServerFrame


class Reply(Struct, frozen=True):
    """Write this frame."""

    frame: ServerFrame | ClientFrame


class Write(Struct, frozen=True):
    """Write this payload, encoded already."""

    payload: bytes


class Acknowledge(Struct, frozen=True):
    """The phone proved these (delivery or message ids)."""

    ids: Sequence[str]
    event: Proof


class Foreground(Struct, frozen=True):
    """The app came to the foreground or left it."""

    foreground: bool


class Read(Struct, frozen=True):
    """Read the inbox: above *after* (which proves all up to it), leaving out what is not above *floor*."""

    after: int | None
    floor: int | None
    limit: int


class Probe(Struct, frozen=True):
    """Send a WebSocket ping: something was sent and nothing was heard since."""


class Farewell(Struct, frozen=True):
    """Say why, then close. ``word`` is the ``bye`` frame's code; *retry_after_s* None: the code alone advises."""

    code: CloseCode
    word: str
    retry_after_s: int | None = None


class Store(Struct, frozen=True):
    """Client side: show and store this message, then acknowledge it."""

    message: Msg


class Erase(Struct, frozen=True):
    """Client side: remove this message from the screen."""

    message_id: str


class Online(Struct, frozen=True):
    """Client side: the inbox is drained. ``more``: older messages wait in its pages."""

    more: bool


class Leave(Struct, frozen=True):
    """Client side: close the line."""

    code: CloseCode
    reason: str


Effect = Reply | Write | Acknowledge | Foreground | Read | Probe | Farewell | Store | Erase | Online | Leave
