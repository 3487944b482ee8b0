"""What an IM backend dispatches, once it passed the door."""

from enum import StrEnum
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from dispatcher.domain.clock import Millis
from dispatcher.domain.template import LocalTexts


class Priority(StrEnum):
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


class Lane(StrEnum):
    """What shares queues and workers; a backlog in one never delays another."""

    URGENT = "urgent"
    INTERACTIVE = "interactive"
    BULK = "bulk"


#: Classes that a person is waiting for this second.
URGENT_CLASSES = frozenset({"call", "otp"})
BULK_CLASSES = frozenset({"campaign"})


def lane_of(klass: str, priority: Priority) -> Lane:
    """The lane of a message, by class and priority (ARCHITECTURE.md, Lanes)."""
    if klass in URGENT_CLASSES:
        return Lane.URGENT
    if klass in BULK_CLASSES or priority is Priority.LOW:
        return Lane.BULK
    return Lane.INTERACTIVE


class Message(Struct, frozen=True, array_like=True, kw_only=True):
    """One accepted message, as it stands in its home and in the ledger.

    ``body`` is the JSON text of its content as phones get it, without braces, made once and passed through:
    ``"message_id":...,"class":...,"notification":...,"data":...,"sent_at":...``.
    """

    app: str
    message_id: str
    klass: str
    priority: Priority
    body: bytes
    accepted_at: Millis
    expires_at: Millis
    notification: dict[str, Any] | None = None
    data: dict[str, Any] | None = None
    sms_text: str | None = None
    collapse_key: str | None = None
    strategy: str | None = None
    template: str | None = None
    params: dict[str, Any] | None = None
    not_before: Millis | None = None
    texts: tuple[LocalTexts, ...] | None = None  #: of a template, by locale; the first is for everybody else
    trace: bytes | None = None  #: see :class:`dispatcher.domain.trace.TraceContext`; None: nobody records it

    @property
    def lane(self) -> Lane:
        return lane_of(self.klass, self.priority)

    def emptied(self) -> "Message":
        """The same message without its content: what remains of it when its recipient is erased."""
        return replace(
            self, body=b"", notification=None, data=None, sms_text=None, collapse_key=None, params=None, texts=None
        )

    def __repr__(self) -> str:
        return f"Message({self.app}, {self.message_id}, {self.klass})"
