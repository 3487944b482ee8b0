"""Attempts as the pipeline hands them to providers."""

from collections.abc import Callable
from typing import Any

import pytest

from dispatcher.domain.device import PushToken
from dispatcher.domain.ids import attempt_id
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from providers.base import Attempt

NOW = 1_800_000_000_000
DELIVERY = "0123456789abcdef0000deadbeef"
NOTIFICATION = {"title": "Wang", "body": "Are you there?", "badge": 3, "sound": "default", "image": None}


def build_attempt(path: Path = Path.APNS, place: int = 0, **changes: Any) -> Attempt:
    """*changes* go to the attempt where it has such a field, else to its message or its token."""
    token: dict[str, Any] = {"kind": "device" if path is Path.APNS else "registration", "value": "ab" * 32}
    message: dict[str, Any] = {
        "app": "app",
        "message_id": f"cm-{place}",
        "klass": "chat",
        "priority": Priority.NORMAL,
        "body": b'"message_id":"cm"',
        "accepted_at": NOW,
        "expires_at": NOW + 3_600_000,
        "notification": NOTIFICATION,
        "data": {"conversation_id": "c42"},
        "collapse_key": None,
    }
    attempt: dict[str, Any] = {
        "attempt_id": attempt_id(DELIVERY, 0, 0, place % 200, path),
        "delivery_id": DELIVERY,
        "user_id": "li",
        "expires_at": NOW + 3_600_000,
    }
    for name, value in changes.items():
        if name in {"value", "kind", "environment", "topic"}:
            token[name] = value
        elif name in {"notification", "data", "collapse_key", "message_id", "message_priority", "accepted_at"}:
            message[name.removeprefix("message_") if name == "message_priority" else name] = value
        else:
            attempt[name] = value
    if path in {Path.APNS, Path.FCM} and "token" not in attempt:
        attempt["token"] = PushToken(path=path, **token)
    return Attempt(message=Message(**message), **attempt)


@pytest.fixture(scope="session")
def make_attempt() -> Callable[..., Attempt]:
    return build_attempt


@pytest.fixture(scope="session")
def now() -> int:
    return NOW
