"""HTTP request heads and the opening handshake."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.protocol.frames import CODECS, JSON, MSGPACK
from dispatcher.protocol.handshake import (
    HandshakeFailed,
    Upgrades,
    accept_key,
    answer_upgrade,
    ask_upgrade,
    read_upgrade,
)
from dispatcher.protocol.http import MAX_HEAD, BadRequest, Request, read_again, read_request

KEY = bytes(range(16))


def head(*lines: str, first: str = "GET /v1/connect HTTP/1.1") -> bytes:
    return "\r\n".join((first, *lines, "", "")).encode()


def upgrade(**changed: str | None) -> Request:
    fields = {
        "Host": "x",
        "Upgrade": "websocket",
        "Connection": "keep-alive, Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    for name, value in changed.items():
        fields[name.replace("_", "-")] = value or ""
        if value is None:
            del fields[name.replace("_", "-")]
    found = read_request(head(*(f"{name}: {value}" for name, value in fields.items())))
    assert found is not None
    return found[0]


def test_a_request_is_read_and_what_follows_is_left() -> None:
    found = read_request(head("Host: a", "X-Two:  b ", first="GET /v1/inbox?wait=30s HTTP/1.1") + b"rest")
    assert found is not None
    request, used = found
    assert (request.method, request.path, request.query) == ("GET", "/v1/inbox", "wait=30s")
    assert request.fields == {"host": "a", "x-two": "b"}
    assert request.keep_alive
    assert used == len(head("Host: a", "X-Two:  b ", first="GET /v1/inbox?wait=30s HTTP/1.1"))


@pytest.mark.parametrize(
    ("line", "query"),
    [
        (b"GET /v1/inbox?after=b HTTP/1.1", "after=b"),
        (b"GET /v1/inbox HTTP/1.1", ""),
        (b"POST /v1/inbox HTTP/1.1", None),
        (b"GET /v1/inbox HTTP/1.0", None),
        (b"GET http://x/v1/inbox HTTP/1.1", None),
        (b"GET /v1/in box HTTP/1.1", None),
        (b"", None),
    ],
)
def test_a_request_with_the_fields_of_the_one_before_is_read_by_its_line(line: bytes, query: str | None) -> None:
    before = read_request(head("Host: a", "Authorization: Bearer t", first="GET /v1/inbox?after=a HTTP/1.1"))
    assert before is not None
    again = read_again(line, before[0])
    whole = read_request(line + b"\r\nHost: a\r\nAuthorization: Bearer t\r\n\r\n") if again is not None else None
    assert (again.query if again is not None else None) == query
    assert (again is None) is (whole is None)
    if again is not None and whole is not None:
        assert again == whole[0]


def test_a_head_that_is_not_whole_waits() -> None:
    assert read_request(head("Host: a")[:-1]) is None


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),
        (head(first="get / HTTP/1.1"), 400),
        (head("Host: x", first="GET / HTTP/2.0"), 400),
        (head(first="GET / HTTP/1.1"), 400),
        (head("Host: x", "Host: y"), 400),
        (head("Host : x"), 400),
        (head("Host: x", " folded"), 400),
        (head("Host: x", "A: \x00"), 400),
        (head("Host: x", "Content-Length: 5"), 413),
        (head("Host: x", "Transfer-Encoding: chunked"), 413),
        (head("Host: x", first="GET http://x/ HTTP/1.1"), 400),
        (b"GET /" + b"a" * (MAX_HEAD + 1), 431),
        (head("Host: x", "A: " + "b" * MAX_HEAD), 431),
    ],
)
def test_what_is_no_request_of_ours_is_refused(raw: Any, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        read_request(raw)
    assert refused.value.status == status


@given(st.binary(max_size=200))
def test_no_bytes_break_the_reader(raw: Any) -> None:
    try:
        found = read_request(raw + b"\r\n\r\n")
    except BadRequest:
        return
    assert found is not None


def test_the_rfcs_own_key_is_accepted() -> None:
    assert accept_key(b"dGhlIHNhbXBsZSBub25jZQ==") == b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    ("offered", "codec"),
    [
        (None, JSON),
        ("pushpath.v1.json", JSON),
        ("pushpath.v1.msgpack", MSGPACK),
        ("other, pushpath.v1.msgpack, pushpath.v1.json", MSGPACK),
    ],
)
def test_the_first_subprotocol_we_know_is_taken(offered: Any, codec: Any) -> None:
    answer, chosen = answer_upgrade(upgrade(Sec_WebSocket_Protocol=offered))
    assert chosen is codec
    assert (b"Sec-WebSocket-Protocol: " in answer) is (offered is not None)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Upgrade": None}, 426),
        ({"Connection": "keep-alive"}, 426),
        ({"Sec_WebSocket_Version": "8"}, 426),
        ({"Sec_WebSocket_Key": None}, 400),
        ({"Sec_WebSocket_Key": "short"}, 400),
        ({"Sec_WebSocket_Protocol": "mqtt"}, 400),
    ],
)
def test_no_upgrade_without_what_the_rfc_asks(changed: Any, status: int) -> None:
    with pytest.raises(BadRequest) as refused:
        answer_upgrade(upgrade(**changed))
    assert refused.value.status == status


def known(data: bytes) -> Upgrades:
    """Upgrades that saw *data* once."""
    upgrades = Upgrades()
    found = read_request(data)
    assert found is not None
    upgrades.keep(data, found[0], *answer_upgrade(found[0]))
    return upgrades


@given(st.binary(min_size=16, max_size=16), st.binary(max_size=40))
def test_a_head_seen_before_is_answered_as_if_it_were_parsed(key: bytes, rest: bytes) -> None:
    upgrades = known(ask_upgrade("x:1", "/v1/connect", KEY, MSGPACK))
    data = ask_upgrade("x:1", "/v1/connect", key, MSGPACK)
    parsed = read_request(data)
    assert parsed is not None
    answered = upgrades.answer(data + rest)
    assert answered is not None
    request, head, codec, used = answered
    assert (head, codec) == answer_upgrade(parsed[0])
    assert (request.path, used) == ("/v1/connect", len(data))


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"/v1/connect", b"/v1/inbox"),
        lambda data: data.replace(b"Version: 13", b"Version: 12"),
        lambda data: data.replace(b"Key: AAECAwQFBgcICQoLDA0ODw==", b"Key: AAECAwQFBgcICQoLDA0OD==="),
        lambda data: data.replace(b"Key: AAECAwQFBgcICQoLDA0ODw==", b"Key: AAECAwQFBgcICQoLDA0O\r\n=="),
        lambda data: data.replace(b"Sec-WebSocket-Key", b"sec-websocket-key"),
        lambda data: data[:-1],
        lambda data: data[:-2] + b"Sec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n\r\n",
        lambda data: data[:-2] + b"Content-Length: 5\r\n\r\n",
        lambda data: data[:-2] + b"X: " + b"x" * 1_024 + b"\r\n\r\n",
    ],
)
def test_any_other_head_is_parsed(change: Any) -> None:
    data = ask_upgrade("x", "/v1/connect", KEY, JSON)
    assert known(data).answer(data) is not None
    assert known(data).answer(change(data)) is None


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
def test_our_client_and_our_server_shake_hands(codec: Any) -> None:
    found = read_request(ask_upgrade("localhost:1", "/v1/connect", KEY, codec))
    assert found is not None
    answer, chosen = answer_upgrade(found[0])
    assert chosen is codec
    assert read_upgrade(answer + b"frames", KEY, codec) == len(answer)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: wrong\r\n\r\n",
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\n\r\n",
        b"SSH-2.0-x\r\n\r\n",
    ],
)
def test_a_client_believes_no_other_answer(answer: Any) -> None:
    with pytest.raises(HandshakeFailed) as failed:
        read_upgrade(answer, KEY, JSON)
    assert failed.value.retry_after_s == (7 if b"503" in answer else None)
