"""Which pushes Apple counts among those that wake an app unseen."""

from typing import Any

import pytest

from dispatcher.domain.device import PushToken
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.pipeline.push_limits import is_background
from dispatcher.ports.provider import Attempt


def attempt(shown: bool, platform: str, kind: str, **changes: Any) -> Attempt:
    message = Message(
        app="im",
        message_id="m",
        klass="chat",
        priority=Priority.NORMAL,
        body=b"",
        accepted_at=0,
        expires_at=1,
        notification={"title": "Wang"} if shown else None,
        data={"n": 1},
    )
    token = PushToken(path=Path.APNS, kind=kind, value="aa")
    return Attempt(
        attempt_id="a", delivery_id="d", user_id="li", message=message, expires_at=1, platform=platform, token=token,
        **changes,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("path", "made", "counted"),
    [
        (Path.APNS, attempt(False, "ios", "device"), True),
        (Path.APNS, attempt(True, "ios", "device"), False),
        (Path.APNS, attempt(True, "ios", "device", silent=True), True),  # quiet hours
        (Path.APNS, attempt(False, "ios", "voip"), False),
        (Path.FCM, attempt(False, "ios", "registration"), True),
        (Path.FCM, attempt(False, "android", "registration"), False),
        (Path.POLL, attempt(False, "ios", "device"), False),
    ],
)
def test_background_pushes_are_those_to_apple_that_show_nothing(path: Path, made: Attempt, counted: bool) -> None:
    assert is_background(path, made) is counted
