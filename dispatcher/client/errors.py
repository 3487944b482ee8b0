"""What the SDK raises."""

from typing import Any


class PushpathError(Exception):
    """Anything Pushpath refused or could not do. ``retry`` tells whether the same call may succeed later."""

    def __init__(
        self, status: int, code: str, detail: str, *, errors: list[dict[str, Any]] | None = None, retry: bool = False
    ) -> None:
        super().__init__(f"{status} {code}: {detail}" if status else f"{code}: {detail}")
        self.status = status  #: of HTTP; 0 where no answer came
        self.code = code
        self.detail = detail
        self.errors = errors or []  #: [{field, message}]
        self.retry = retry


class MovedAway(PushpathError):
    """The device belongs to another user now, or a newer connection took its place: this client stops."""
