"""What a field should look like is said in words, not as a pattern."""

from typing import Any

import httpx
import pytest


@pytest.mark.parametrize(
    ("method", "address", "body", "field", "said"),
    [
        ("PUT", "/v1/users/u1", {"phone": "123"}, "phone", "+8613800138000"),
        ("PUT", "/v1/users/u1", {"quiet_hours": {"from": "25:00", "to": "07:00"}}, "quiet_hours.from", "22:00"),
        ("PUT", "/v1/users/u1", {"muted_classes": ["Bad"]}, "muted_classes[0]", "a-z, 0-9 and _"),
        ("PUT", "/v1/users/u1", {"locale": "!"}, "locale", "zh-CN"),
        ("PUT", "/v1/templates/t", {"texts": {"en_US!": {"title": "a"}}}, "texts", "zh-CN"),
        ("POST", "/v1/messages", {"message_id": "a b", "to": {"user_ids": ["u"]}}, "message_id", "visible ASCII"),
        ("POST", "/v1/messages", {"message_id": "a", "to": {"user_ids": ["u"]}, "ttl": "-5s"}, "ttl", "200ms, 3s"),
        ("GET", "/v1/deliveries?before=zzz", None, "before", "what stood in next"),
    ],
)
async def test_a_wrong_spelling_is_answered_with_the_right_one(
    client: httpx.AsyncClient, method: str, address: str, body: Any, field: str, said: str
) -> None:
    answer = await client.request(method, address, json=body)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert (fault["field"], said in fault["message"], "regex" in fault["message"]) == (field, True, False)
