"""One HTTP/2 stream of ours, and how it can end."""

from collections.abc import Sequence
from typing import NamedTuple

from providers.http2.exchange import Reply, TransportFault
from providers.http2.header_block import BadBlock, decode


class BlockReply(Reply):
    """A reply whose header block is decoded when someone asks."""

    def __init__(self, status: int, block: bytes, body: bytes) -> None:
        self.status = status
        self.body = body
        self._block = block

    @property
    def fields(self) -> Sequence[tuple[bytes, bytes]]:  # type: ignore[override]
        """The header fields, without ``:status``."""
        try:
            return [field for field in decode(self._block) if not field[0].startswith(b":")]
        except BadBlock:
            return []


class Stream:
    """One request under way. *ticket*: whatever the caller wants back."""

    __slots__ = ("block", "body", "id", "size", "status", "ticket", "unsent", "window")

    def __init__(self, stream_id: int, ticket: object, window: int) -> None:
        self.id = stream_id
        self.ticket = ticket
        self.window = window
        self.unsent = b""
        self.status = 0
        self.block = b""
        self.body: list[bytes] = []
        self.size = 0


class Ended(NamedTuple):
    """A stream that is over."""

    stream: Stream
    answer: Reply | TransportFault
