"""What a gateway counts. Gauges and counters under fixed names; reading them costs nothing on the hot path."""

from collections import Counter
from enum import StrEnum


class Count(StrEnum):
    """Names as they stand in metrics, after ``pushpath_gateway_``."""

    CONNECTED = "connected"  #: connections accepted
    UPGRADED = "upgraded"
    ONLINE = "online"  #: sessions that reached caught_up
    SENT = "messages_sent"
    CAUGHT_UP = "messages_caught_up"  #: sent from the inbox
    REREAD = "inbox_rereads"  #: a line out of step read its inbox
    DROPPED = "frames_dropped"  #: bus frames for another binding or sent already
    UNDELIVERED = "frames_undelivered"
    ACKS = "acks"
    ACKS_REPEATED = "ack_flushes_repeated"
    ACKS_LOST = "acks_lost"
    POLLS = "polls"
    POLLS_WOKEN = "polls_woken"
    REFUSED = "connections_refused"
    THROTTLED = "lines_throttled"
    FAULTS = "store_faults"
    STALLED = "stalls"  #: the process stood still for a second or more
    CLOSED = "lines_closed"  #: by our farewell


class Counters(Counter[str]):
    """One number a name; close codes are counted as ``lines_closed.<code>``."""
