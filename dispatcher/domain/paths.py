"""The ways to reach someone."""

from enum import StrEnum


class Path(StrEnum):
    """A delivery path. ``push`` in a rule is resolved to the device's own vendor path before it gets here."""

    LONGCONN = "longconn"
    APNS = "apns"
    FCM = "fcm"
    POLL = "poll"
    SMS = "sms"

    @property
    def code(self) -> int:
        """One byte for state vectors; 0 stands for no path."""
        return _CODES[self]

    @property
    def letter(self) -> str:
        """One letter for attempt ids."""
        return self.value[0]

    @property
    def runs_our_code(self) -> bool:
        """Whether an attempt on this path can bring a device receipt at all."""
        return self is not Path.SMS


_CODES = {path: index + 1 for index, path in enumerate(Path)}
PATH_BY_CODE = {code: path for path, code in _CODES.items()}
PATH_BY_LETTER = {path.letter: path for path in Path}
VENDOR_PATHS = frozenset({Path.APNS, Path.FCM})
