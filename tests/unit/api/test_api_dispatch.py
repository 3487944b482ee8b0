"""Dispatch: answers, idempotency, batches, and every way a message can be refused."""

from typing import Any

import httpx
import pytest

NOW_TEXT = "2030-03-17T17:46:40.000Z"


def message(**changes: Any) -> dict[str, Any]:
    body = {"message_id": "cm-1", "to": {"user_ids": ["li"]}, "notification": {"title": "Wang", "body": "There?"}}
    return {**body, **changes}


async def test_a_first_message_is_202_and_its_repeat_200(client: httpx.AsyncClient, core: Any) -> None:
    first = await client.post("/v1/messages", json=message())
    again = await client.post("/v1/messages", json=message(ttl="1d", **{"class": "chat"}))
    assert first.status_code == 202
    assert first.json() == {"message_id": "cm-1", "accepted_at": NOW_TEXT, "recipients": 1, "duplicate": False}
    assert (again.status_code, again.json()["duplicate"]) == (200, True)


async def test_other_content_under_the_same_id_is_409(client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=message())
    answer = await client.post("/v1/messages", json=message(data={"a": 1}))
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")


async def test_the_same_id_in_another_app_is_another_message(client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=message())
    elsewhere = {"Authorization": "Bearer stranger"}
    assert (await client.get("/v1/messages/cm-1", headers=elsewhere)).status_code == 404
    assert (await client.post("/v1/messages/cm-1/recall", headers=elsewhere)).status_code == 404
    assert (await client.post("/v1/messages", json=message(data={}), headers=elsewhere)).status_code == 202


async def test_all_fields_reach_the_core_in_its_own_units(client: httpx.AsyncClient, core: Any) -> None:
    full = {
        "message_id": "cm-1024-7",
        "to": {"user_ids": ["li", "li"], "device_ids": ["d-1"]},
        "class": "otp",
        "notification": {"title": "Wang", "body": "There?", "badge": 3, "sound": "default", "image": None},
        "data": {"conversation_id": "c42"},
        "sms": {"text": "code 1"},
        "template": None,
        "params": {},
        "priority": "high",
        "ttl": "90s",
        "collapse_key": "c42",
        "strategy": None,
        "not_before": "2030-03-18T01:46:40+08:00",
        "dry_run": False,
    }
    assert (await client.post("/v1/messages", json=full)).status_code == 202
    wanted, _ = core.messages["im", "cm-1024-7"]
    assert (wanted.user_ids, wanted.device_ids, wanted.klass) == (("li",), ("d-1",), "otp")
    assert (wanted.ttl_ms, wanted.not_before, wanted.priority) == (90_000, 1_900_000_000_000, "high")
    assert wanted.notification == full["notification"]
    assert (wanted.sms_text, wanted.collapse_key, wanted.data) == ("code 1", "c42", {"conversation_id": "c42"})


async def test_a_dry_run_is_200_and_stores_nothing(client: httpx.AsyncClient, core: Any) -> None:
    answer = await client.post("/v1/messages", json=message(dry_run=True))
    assert (answer.status_code, answer.json()["recipients"][0]["user_id"]) == (200, "li")
    assert core.messages == {}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"to": {"user_ids": ["li"], "group": 1}}, "to.group"),
        ({"notification": {"titel": "x"}}, "notification.titel"),
        ({"message_id": None}, "message_id"),
        ({"message_id": ""}, "message_id"),
        ({"message_id": "a b"}, "message_id"),
        ({"message_id": "a\n"}, "message_id"),
        ({"message_id": "你"}, "message_id"),
        ({"message_id": "x" * 129}, "message_id"),
        ({"message_id": 7}, "message_id"),
        ({"to": {}}, "to"),
        ({"to": []}, "to"),
        ({"to": {"user_ids": "li"}}, "to.user_ids"),
        ({"to": {"user_ids": ["li", ""]}}, "to.user_ids[1]"),
        ({"to": {"user_ids": [f"u{n}" for n in range(1_001)]}}, "to.user_ids"),
        ({"to": {"user_ids": [f"u{n}" for n in range(600)], "device_ids": [f"d{n}" for n in range(401)]}}, "to"),
        ({"notification": None}, "notification"),
        ({"notification": {}}, "notification"),
        ({"notification": {"badge": -1}}, "notification.badge"),
        ({"notification": {"badge": True}}, "notification.badge"),
        ({"notification": {"title": "x", "image": "javascript:1"}}, "notification.image"),
        ({"class": "Chat"}, "class"),
        ({"class": "x" * 33}, "class"),
        ({"class": "chat\n"}, "class"),
        ({"priority": "urgent"}, "priority"),
        ({"ttl": "24"}, "ttl"),
        ({"ttl": "0s"}, "ttl"),
        ({"ttl": "31d"}, "ttl"),
        ({"ttl": 60}, "ttl"),
        ({"ttl": "-1s"}, "ttl"),
        ({"not_before": "2030-03-18"}, "not_before"),
        ({"not_before": "2030-03-18T00:00:00"}, "not_before"),
        ({"not_before": "2030-02-30T00:00:00Z"}, "not_before"),
        ({"not_before": "2031-03-18T00:00:00Z"}, "not_before"),
        ({"not_before": 1_900_000_000}, "not_before"),
        ({"data": []}, "data"),
        ({"data": {"pushpath": 1}}, "data.pushpath"),
        ({"data": {"x": "y" * 4_000}}, "data"),
        ({"notification": {"title": "x", "body": "你" * 1_400}}, "notification"),
        ({"data": {"x": "a\0b"}}, "data.x"),
        ({"data": {"x": {"y\0": 1}}}, "data.x.y\\u0000"),
        ({"notification": {"title": "\0"}}, "notification.title"),
        ({"sms": {"text": ""}}, "sms.text"),
        ({"sms": {"text": "x" * 1_601}}, "sms.text"),
        ({"sms": "hi"}, "sms"),
        ({"params": {"a": 1}}, "params"),
        ({"collapse_key": ""}, "collapse_key"),
        ({"dry_run": "yes"}, "dry_run"),
    ],
)
async def test_an_invalid_field_is_422_by_name_and_changes_nothing(
    client: httpx.AsyncClient, core: Any, changes: dict[str, Any], field: str
) -> None:
    answer = await client.post("/v1/messages", json=message(**changes))
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert [error["field"] for error in problem["errors"]] == [field]
    assert problem["errors"][0]["message"]
    assert (problem["status"], problem["code"]) == (422, "invalid")
    assert core.accepts == []


@pytest.mark.parametrize("missing", ["message_id", "to"])
async def test_a_missing_field_is_named(client: httpx.AsyncClient, missing: str) -> None:
    body = message()
    del body[missing]
    answer = await client.post("/v1/messages", json=body)
    assert (answer.status_code, answer.json()["errors"]) == (422, [{"field": missing, "message": "required"}])


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null x",
        b'{"message_id": NaN}',
        b'{"message_id": "a", "data": {"x": Infinity}}',
        b'{"message_id": "\xff"}',
        b'\xff\xfe{"a": 1}',
        b'\xef\xbb\xbf{"message_id": "a"}',
        b'{"message_id": "\x00"}',
        b'{"message_id": "\\ud800"}',
        b'{"data": ' + b"[" * 200 + b"]" * 200 + b"}",
        b'{"data": ' + b'{"a":' * 80_000 + b"1" + b"}" * 80_000 + b"}",
        b"[" * 200_000,
    ],
    ids=lambda body: repr(body[:24]),
)
async def test_what_is_no_json_in_utf_8_is_400(client: httpx.AsyncClient, core: Any, body: bytes) -> None:
    answer = await client.post("/v1/messages", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert core.accepts == []


async def test_nesting_ends_at_32_levels(client: httpx.AsyncClient) -> None:
    def nested(levels: int) -> Any:
        value: Any = 1
        for _ in range(levels):
            value = {"a": value}
        return value

    assert (await client.post("/v1/messages", json=message(data=nested(31)))).status_code == 202
    deeper = await client.post("/v1/messages", json=message(message_id="cm-2", data=nested(32)))
    assert (deeper.status_code, deeper.json()["code"]) == (400, "malformed")


async def test_brackets_inside_texts_are_no_nesting(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/messages", json=message(data={"x": "{[" * 500}))).status_code == 202


async def test_an_escaped_backslash_before_u0000_is_no_nul(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/messages", json=message(data={"x": "\\u0000"}))).status_code == 202


async def test_two_megabytes_are_413_from_the_announced_length(client: httpx.AsyncClient, core: Any) -> None:
    answer = await client.post("/v1/messages", content=b" " * 2_000_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_two_megabytes_without_a_length_are_413_while_they_come(client: httpx.AsyncClient) -> None:
    sent = 0

    async def chunks() -> Any:
        nonlocal sent
        for _ in range(32):
            sent += 65_536
            yield b" " * 65_536

    answer = await client.post("/v1/messages", content=chunks())
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_an_unknown_query_parameter_is_refused_by_name(client: httpx.AsyncClient, core: Any) -> None:
    answer = await client.post("/v1/messages?force=1", json=message())
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "force")
    assert core.accepts == []


async def test_a_batch_answers_each_message_on_its_own_and_in_order(client: httpx.AsyncClient, core: Any) -> None:
    await client.post("/v1/messages", json=message(message_id="taken"))
    batch = [
        message(message_id="a"),
        message(message_id="b", ttl="x"),
        {"to": 1},
        message(message_id="taken", data={"other": 1}),
        message(message_id="taken"),
        message(message_id="dry", dry_run=True),
        message(message_id="c", data={"x": "\0"}),
    ]
    answer = await client.post("/v1/messages/batch", json={"messages": batch})
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [(result["message_id"], result["status"]) for result in results] == [
        ("a", 202),
        ("b", 422),
        (None, 422),
        ("taken", 409),
        ("taken", 200),
        ("dry", 200),
        ("c", 422),
    ]
    assert results[0]["accepted_at"] == NOW_TEXT
    assert results[1]["error"]["errors"][0]["field"] == "ttl"
    assert results[3]["error"]["code"] == "conflict"
    assert results[4]["duplicate"] is True
    assert results[5]["recipients"][0]["user_id"] == "li"
    assert core.accepts[1:] == [["a", "taken", "taken"]]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{}] * 1_001}, "messages"),
        ({"messages": {}}, "messages"),
        ({"messages": [{}], "more": 1}, "more"),
        ({}, "messages"),
    ],
)
async def test_a_bad_batch_is_422(client: httpx.AsyncClient, core: Any, body: Any, field: str) -> None:
    answer = await client.post("/v1/messages/batch", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert core.accepts == []


async def test_a_batch_beyond_10000_recipients_is_422_as_a_whole(client: httpx.AsyncClient, core: Any) -> None:
    users = [f"u{number}" for number in range(1_000)]
    batch = [message(message_id=f"m{number}", to={"user_ids": users}) for number in range(11)]
    answer = await client.post("/v1/messages/batch", json={"messages": batch})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "messages")
    assert core.accepts == []


async def test_a_batch_may_weigh_8_mib_and_no_more(client: httpx.AsyncClient, core: Any) -> None:
    assert (await client.post("/v1/messages/batch", content=b" " * 8_388_609)).status_code == 413
    batch = {"messages": [message(message_id=f"m{n}", data={"x": "y" * 3_900}) for n in range(900)]}
    assert (await client.post("/v1/messages/batch", json=batch)).status_code == 200


async def test_a_message_inside_a_batch_may_be_bad_utf_8_alone(client: httpx.AsyncClient, core: Any) -> None:
    body = b'{"messages": [{"message_id": "a", "to": {"user_ids": ["\xff"]}, "data": {}}]}'
    answer = await client.post("/v1/messages/batch", content=body)
    assert answer.status_code in {200, 400}
    assert core.messages == {}


async def test_state_timeline_and_recall_find_ids_with_slashes_and_percent_signs(client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=message(message_id="a/b%2F?#c"))
    path = "/v1/messages/a%2Fb%252F%3F%23c"
    assert (await client.get(path)).json()["message_id"] == "a/b%2F?#c"
    assert (await client.get(f"{path}/timeline")).json()["events"]
    recalled = await client.post(f"{path}/recall")
    assert (recalled.status_code, recalled.json()["message_id"]) == (202, "a/b%2F?#c")


@pytest.mark.parametrize("path", ["/v1/messages/a%20b", "/v1/messages/a%00b", "/v1/messages/" + "x" * 129])
async def test_an_impossible_id_in_the_path_is_422(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "message_id")


@pytest.mark.parametrize("path", ["/v1/messages/%ff", "/v1/messages/a%1fb"])
async def test_an_unreadable_path_is_400(client: httpx.AsyncClient, path: str) -> None:
    assert (await client.get(path)).status_code == 400


async def test_the_timeline_wants_a_user_where_there_are_several(client: httpx.AsyncClient) -> None:
    await client.post("/v1/messages", json=message(to={"user_ids": ["li", "wu"]}))
    missing = await client.get("/v1/messages/cm-1/timeline")
    assert (missing.status_code, missing.json()["errors"][0]["field"]) == (422, "user_id")
    assert (await client.get("/v1/messages/cm-1/timeline?user_id=li")).status_code == 200
    assert (await client.get("/v1/messages/cm-1/timeline?user_id=xu")).status_code == 404
    twice = await client.get("/v1/messages/cm-1/timeline?user_id=li&user_id=wu")
    assert (twice.status_code, twice.json()["errors"][0]["field"]) == (422, "user_id")
