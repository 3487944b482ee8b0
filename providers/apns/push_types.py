"""What each kind of push must look like: one row a type.

https://developer.apple.com/documentation/usernotifications/sending-notification-requests-to-apns
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

MAX_PAYLOAD = 4096  #: bytes of UTF-8 JSON
MAX_VOIP_PAYLOAD = 5120


class PushType(StrEnum):
    """The header ``apns-push-type``."""

    ALERT = "alert"
    BACKGROUND = "background"
    LOCATION = "location"
    VOIP = "voip"
    COMPLICATION = "complication"
    FILEPROVIDER = "fileprovider"
    MDM = "mdm"
    LIVEACTIVITY = "liveactivity"
    PUSHTOTALK = "pushtotalk"
    WIDGETS = "widgets"
    CONTROLS = "controls"


class Row(NamedTuple):
    """*suffix*: of the topic behind the app's bundle id; None: the topic is the certificate's own (MDM).

    *priorities*: allowed ones, the usual one first. *kept*: whether Apple may store it for a phone that is off.
    """

    suffix: str | None
    priorities: tuple[str, ...] = ("10", "5", "1")
    limit: int = MAX_PAYLOAD
    kept: bool = True


ROWS: Mapping[PushType, Row] = {
    PushType.ALERT: Row(""),
    PushType.BACKGROUND: Row("", ("5", "1")),
    PushType.LOCATION: Row(".location-query"),
    PushType.VOIP: Row(".voip", limit=MAX_VOIP_PAYLOAD),
    PushType.COMPLICATION: Row(".complication"),
    PushType.FILEPROVIDER: Row(".pushkit.fileprovider"),
    PushType.MDM: Row(None),
    PushType.LIVEACTIVITY: Row(".push-type.liveactivity"),
    PushType.PUSHTOTALK: Row(".voip-ptt", ("10",), kept=False),
    PushType.WIDGETS: Row(".push-type.widgets"),
    PushType.CONTROLS: Row(".push-type.controls"),
}


def topic_for(push_type: PushType, topic: str) -> str:
    """The topic that *push_type* asks for, from the app's bundle id or from a topic that has the suffix already."""
    suffix = ROWS[push_type].suffix
    return topic if not suffix or topic.endswith(suffix) else topic + suffix
