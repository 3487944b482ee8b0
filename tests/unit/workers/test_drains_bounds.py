"""What drains may have under way follows from what providers take and how long they may take for it."""

from typing import Any

import pytest

from dispatcher.domain.message import Lane
from dispatcher.pipeline.flight import PATIENCE_S
from providers.apns.provider import ApnsProvider
from providers.fcm.provider import FcmProvider
from providers.sms.twilio.provider import TwilioProvider
from workers.drains import CLAIMS, HANGING, HANGING_OF_ONE, LEASES, SLOW_AFTER_S

APNS = ApnsProvider(transports={}, topic="com.example.im", signer=None)
FCM = FcmProvider(transport=None, access=None, project_id="p")  # type: ignore[arg-type]
SMS = TwilioProvider(
    transport=None,  # type: ignore[arg-type]
    account_sid="AC",
    auth_token="t",
    public_url="https://p",
    from_number="+1",
)


@pytest.mark.parametrize(("path", "provider"), [("apns", APNS), ("fcm", FCM), ("sms", SMS)])
def test_what_hangs_leaves_room_for_what_is_answered(path: str, provider: Any) -> None:
    assert 0 < HANGING_OF_ONE[path] * len(Lane) <= provider.limits.concurrent
    assert HANGING[path] > HANGING_OF_ONE[path]  # one stalled app is not all
    assert CLAIMS[path] <= provider.limits.batch
    assert LEASES[path] >= 2 * provider.limits.deadline_ms
    assert SLOW_AFTER_S[path] >= PATIENCE_S
