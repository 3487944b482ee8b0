import json
import subprocess
from typing import Any
from uuid import uuid4

import pytest

from dispatcher.cli.client.address import is_local

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(180)]


def _lines(*messages: object) -> str:
    return "\n".join(text if isinstance(text, str) else json.dumps(text) for text in messages) + "\n"


def _message(user: str, message_id: str, **more: Any) -> dict[str, Any]:
    return {"message_id": message_id, "to": {"user_ids": [user]}, "notification": {"body": message_id}, **more}


@pytest.fixture
def user() -> str:
    return f"cli-{uuid4().hex[:8]}"


def test_what_is_accepted_and_what_is_refused_is_told_by_line(up: Any, user: str) -> None:
    text = _lines(_message(user, f"{user}-1"), "no json", "", _message(user, f"{user}-2", wrong=1), [1])
    ended = up.run("send", "-", "--json", stdin=text)
    assert ended.returncode == 1
    answer = json.loads(ended.stdout)
    assert (answer["accepted"], answer["refused"]) == (1, 3)
    assert [error["line"] for error in answer["errors"]] == [2, 4, 5]
    assert "wrong: unknown field" in answer["errors"][1]["error"]


def test_sending_a_file_again_sends_nothing_twice(up: Any, user: str, tmp_path: Any) -> None:
    file = tmp_path / "messages.jsonl"
    file.write_text(_lines(*(_message(user, f"{user}-{number}") for number in range(25))))
    first = up.run("send", str(file), "--batch", "10")
    again = up.run("send", str(file), "--json")
    assert (first.returncode, first.stdout.strip()) == (0, "25 accepted, 0 refused")
    assert json.loads(again.stdout) == {"accepted": 0, "duplicates": 25, "dry_runs": 0, "refused": 0, "errors": []}


def test_a_phone_in_a_terminal_shows_what_came_and_proves_it(up: Any, user: str) -> None:
    assert up.run("send", "-", stdin=_lines(_message(user, f"{user}-1"))).returncode == 0
    phone = up.run("device", "--user", user, "--once", "--json", "--seconds", "30")
    assert phone.returncode == 0, phone.stderr
    assert json.loads(phone.stdout.splitlines()[0])["message_id"] == f"{user}-1"
    assert _state(up, f"{user}-1")["confirmed_by"] == "longconn"


def test_a_silent_phone_proves_nothing(up: Any, user: str) -> None:
    assert up.run("send", "-", stdin=_lines(_message(user, f"{user}-1"), _message(user, f"{user}-2"))).returncode == 0
    phone = up.run("device", "--user", user, "--silent", "--json", "--seconds", "6")
    assert [json.loads(line)["message_id"] for line in phone.stdout.splitlines()] == [f"{user}-1", f"{user}-2"]
    assert _state(up, f"{user}-1")["proof"] == "none"
    assert _state(up, f"{user}-2")["proof"] == "none"


def test_a_polling_phone_proves_by_polling(up: Any, user: str) -> None:
    assert up.run("send", "-", stdin=_lines(_message(user, f"{user}-1"))).returncode == 0
    phone = up.run("device", "--user", user, "--poll", "--once")
    assert phone.returncode == 0, phone.stderr
    assert f"({user}-1)" in phone.stdout
    assert _state(up, f"{user}-1")["confirmed_by"] == "poll"


def test_once_without_a_message_is_exit_3(up: Any, user: str) -> None:
    assert up.run("device", "--user", user, "--once", "--seconds", "2").returncode == 3


def test_a_device_token_is_enough_and_a_bad_one_is_refused(up: Any, user: str) -> None:
    address = ("--api-url", up.document["api_url"], "--gateway-url", up.document["gateway_url"])
    ended = up.run("device", "--user", user, "--token", "forged", *address, "--seconds", "5")
    assert ended.returncode == 1
    assert "401" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("send", "-"), "start `pushpath up` first"),
        (("send", "-", "--api-url", "http://127.0.0.1:9"), "No API key"),
        (("send", "-", "--api-url", "127.0.0.1:9", "--api-key", "k"), "write an address"),
        (("send", "nowhere.jsonl"), "No such file"),
    ],
)
def test_what_is_missing_is_said_with_what_to_do(up: Any, tmp_path: Any, arguments: tuple[str, ...], said: str) -> None:
    ended: subprocess.CompletedProcess[str] = up.run(*arguments, stdin="{}\n", cwd=tmp_path)
    assert ended.returncode == 2
    assert said in ended.stderr


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("http://127.0.0.1:8080", True),
        ("http://localhost/", True),
        ("http://[::1]:80", True),
        ("https://push.example.com", False),
        ("http://127.0.0.1.example.com:80", False),
    ],
)
def test_only_this_machine_is_reached_without_a_proxy(url: str, local: bool) -> None:
    assert is_local(url) is local


def _state(up: Any, message_id: str) -> dict[str, Any]:
    import httpx

    headers = {"Authorization": f"Bearer {up.document['api_key']}"}
    reply = httpx.get(f"{up.document['api_url']}/v1/messages/{message_id}", headers=headers, trust_env=False)
    delivery: dict[str, Any] = reply.raise_for_status().json()["deliveries"][0]
    return delivery
