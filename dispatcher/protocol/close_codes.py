"""Close codes, grouped by what the peer should do about them (RFC 6455, 7.4; api.md's 4000s)."""

from enum import Enum, IntEnum


class Advice(Enum):
    """What a device does after its line was closed."""

    RECONNECT = "reconnect"  #: with jitter, resuming from the cursor
    RETRY_LATER = "retry_later"  #: reconnect, with a growing pause
    NEW_TOKEN = "new_token"  # noqa: S105  #: fetch another token first
    STOP = "stop"  #: coming back would do harm


class CloseCode(IntEnum):
    """Every code this protocol sends or understands."""

    NORMAL = 1000
    GOING_AWAY = 1001  #: draining, or the line fell silent
    PROTOCOL_FAULT = 1002
    UNSUPPORTED_DATA = 1003
    NO_CODE = 1005  #: never on the wire: the peer's close frame was empty
    ABNORMAL = 1006  #: never on the wire: the line broke
    BAD_UTF8 = 1007
    NO_HELLO = 1008  #: a first frame that parses but is no hello, or none in time
    BLOCKED = 1008  #: RFC 6455's policy violation: user or address stands on the app's block list
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013  #: overloaded, or a store behind us does not answer
    BAD_TOKEN = 4001  #: or 60 s past its end
    REPLACED = 4002  #: a newer connection of the same device
    UNPARSABLE = 4003  #: or a foreign cursor
    SLOW_CONSUMER = 4008
    MOVED = 4010  #: the device belongs to another user now

    @property
    def advice(self) -> Advice:
        """What the device should do."""
        return _ADVICE.get(self, Advice.RECONNECT)


_ADVICE = {
    CloseCode.PROTOCOL_FAULT: Advice.RETRY_LATER,
    CloseCode.UNSUPPORTED_DATA: Advice.RETRY_LATER,
    CloseCode.BAD_UTF8: Advice.RETRY_LATER,
    CloseCode.NO_HELLO: Advice.RETRY_LATER,
    CloseCode.TOO_BIG: Advice.RETRY_LATER,
    CloseCode.INTERNAL: Advice.RETRY_LATER,
    CloseCode.TRY_LATER: Advice.RETRY_LATER,
    CloseCode.UNPARSABLE: Advice.RETRY_LATER,
    CloseCode.BAD_TOKEN: Advice.NEW_TOKEN,
    CloseCode.REPLACED: Advice.STOP,
    CloseCode.MOVED: Advice.STOP,
}


def advice_for(code: int) -> Advice:
    """Advice for any number a peer may send; unknown ones mean: reconnect."""
    try:
        return CloseCode(code).advice
    except ValueError:
        return Advice.RECONNECT


def may_be_received(code: int) -> bool:
    """Whether *code* may stand in a close frame (RFC 6455, 7.4.1 and 7.4.2, and the IANA registry)."""
    return (1000 <= code <= 1014 and code not in {1004, 1005, 1006}) or 3000 <= code <= 4999
