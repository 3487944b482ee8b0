"""Frames: a closed set from devices, an open one from servers."""

import json
from typing import Any

import msgspec
import pytest

from dispatcher.protocol.frames import (
    CODECS,
    JSON,
    MSGPACK,
    Ack,
    Bye,
    CaughtUp,
    Hello,
    Msg,
    Ping,
    Pong,
    Recall,
    State,
    Token,
    Unparsable,
    Welcome,
)

CLIENT = [
    Hello(token="t", cursor="c", state="background"),
    Hello(token="t"),
    Ack(["d1", "m2"], "opened"),
    Ack(["d1"]),
    State("foreground"),
    Ping(),
    Ping(300),
    Token("t2"),
]
SERVER = [
    Welcome("s", 240),
    Msg(cursor="c", delivery_id="d", attempt_id="d-i", message_id="m", klass="chat", data={"a": 1}, sent_at="now"),
    CaughtUp("c", False),
    Pong(270),
    Recall("m"),
    Bye("draining", 12),
    Bye("replaced"),
]


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize("frame", CLIENT, ids=repr)
def test_what_a_device_says_is_what_the_server_hears(codec: Any, frame: Any) -> None:
    assert codec.client_frame(codec.encode(frame)) == frame


@pytest.mark.parametrize("codec", CODECS.values(), ids=list(CODECS))
@pytest.mark.parametrize("frame", SERVER, ids=repr)
def test_what_a_server_says_is_what_the_device_hears(codec: Any, frame: Any) -> None:
    assert codec.server_frame(codec.encode(frame)) == frame


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"t":"nonsense"}',
        '{"t":"hello"}',
        '{"t":"hello","token":5}',
        '{"t":"hello","token":"x","extra":1}',
        '{"t":"hello","token":"x","state":"asleep"}',
        '{"t":"ack","ids":"d1"}',
        '{"t":"ack","ids":[""]}',
        '{"t":"ack","ids":["d"],"event":"eaten"}',
        '{"t":"ping","next_s":-1}',
        '{"t":"state","state":"foreground"}}',
        "[" * 100_000,
    ],
)
def test_what_is_no_frame_is_unparsable(text: str) -> None:
    with pytest.raises(Unparsable):
        JSON.client_frame(text.encode())


def test_a_device_ignores_what_a_newer_server_adds() -> None:
    frame = JSON.server_frame(b'{"t":"pong","heartbeat_s":60,"weather":"fine"}')
    assert frame == Pong(60)


@pytest.mark.parametrize("codec", [JSON, MSGPACK], ids=["json", "msgpack"])
def test_a_producers_body_passes_through(codec: Any) -> None:
    body = '"message_id":"m1","class":"chat","notification":{"title":"王"},"data":null,"sent_at":"x"'.encode()
    payload = codec.message("c1", "d1", "d1-i", body)
    plain = json.loads(payload) if codec is JSON else msgspec.msgpack.decode(payload)
    assert plain == {
        "t": "msg",
        "cursor": "c1",
        "delivery_id": "d1",
        "attempt_id": "d1-i",
        "message_id": "m1",
        "class": "chat",
        "notification": {"title": "王"},
        "data": None,
        "sent_at": "x",
    }
    frame = codec.server_frame(payload)
    assert isinstance(frame, Msg)
    assert frame.klass == "chat"


def test_tokens_never_print() -> None:
    assert "secret" not in repr(Hello(token="secret")) + repr(Token("secret"))
