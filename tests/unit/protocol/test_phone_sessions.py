"""The device's half of the conversation, and the heartbeat it learns."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.protocol.client_session import ACKS_AT_ONCE, SEEN_KEPT, Connected, Greeting, Keepsake, Notebook, Seen
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Erase, Leave, Online, Reply, Store
from dispatcher.protocol.frames import Ack, Bye, CaughtUp, Msg, Ping, Pong, Recall, State, Token, Welcome
from dispatcher.protocol.heartbeat import BASE_S, MOST_S, Heartbeat


def connected(keepsake: Keepsake | None = None, *, heartbeat_s: int = 240, foreground: bool = True) -> Connected:
    phase, _ = Greeting(keepsake or Keepsake(), foreground=foreground, now=0).receive(Welcome("s", heartbeat_s), 0)
    assert isinstance(phase, Connected)
    return phase


def msg(number: int) -> Msg:
    return Msg(cursor=f"c{number}", delivery_id=f"d{number}", attempt_id="", message_id=f"m{number}", klass="chat")


def test_hello_carries_what_the_phone_kept() -> None:
    greeting = Greeting(Keepsake(Notebook(cursor="c7")), foreground=False, now=0)
    hello = greeting.hello("tok")
    assert (hello.token, hello.cursor, hello.state) == ("tok", "c7", "background")


def test_a_message_is_acknowledged_once_it_was_stored_and_then_the_cursor_moves() -> None:
    phase = connected()
    _, effects = phase.receive(msg(1), 0)
    assert list(effects) == [Store(msg(1))]
    assert list(phase.flush()) == []
    assert list(phase.stored(msg(1))) == []
    assert phase.keepsake.cursor == "c1"
    assert list(phase.flush()) == [Reply(Ack(["d1"]))]


def test_a_message_seen_before_is_acknowledged_and_not_shown() -> None:
    keepsake = Keepsake(Notebook(seen=["m1"]))
    phase = connected(keepsake)
    _, effects = phase.receive(msg(1), 0)
    assert list(effects) == []
    assert list(phase.flush()) == [Reply(Ack(["d1"]))]


def test_many_messages_are_acknowledged_together() -> None:
    phase = connected()
    frames = [effect for number in range(ACKS_AT_ONCE) for effect in phase.stored(msg(number))]
    assert frames == [Reply(Ack([f"d{number}" for number in range(ACKS_AT_ONCE)]))]


def test_caught_up_moves_the_cursor_and_hands_over_the_acks() -> None:
    phase = connected()
    phase.stored(msg(1))
    _, effects = phase.receive(CaughtUp("c9", True), 0)
    assert list(effects) == [Reply(Ack(["d1"])), Online(True)]
    assert phase.keepsake.cursor == "c9"


def test_a_recalled_message_is_erased_and_never_shown_later() -> None:
    phase = connected()
    _, effects = phase.receive(Recall("m1"), 0)
    assert list(effects) == [Erase("m1")]
    _, effects = phase.receive(msg(1), 0)
    assert list(effects) == []


def test_a_phone_pings_after_silence_and_leaves_when_nothing_answers() -> None:
    phase = connected(heartbeat_s=60)
    assert list(phase.tick(59_999)) == []
    assert list(phase.tick(60_000)) == [Reply(Ping(BASE_S))]
    assert list(phase.tick(69_999)) == []
    assert list(phase.tick(70_000)) == [Leave(CloseCode.GOING_AWAY, "no pong")]


def test_any_traffic_counts_as_a_heartbeat() -> None:
    phase = connected(heartbeat_s=60)
    phase.receive(msg(1), 50_000)
    assert list(phase.tick(109_999)) == []


def test_a_pong_sets_the_next_interval() -> None:
    phase = connected(heartbeat_s=60)
    phase.tick(60_000)
    phase.receive(Pong(120), 60_100)
    assert list(phase.tick(180_099)) == []
    assert list(phase.tick(180_100)) == [Reply(Ping(BASE_S))]


def test_a_server_that_never_welcomes_is_left() -> None:
    greeting = Greeting(Keepsake(), foreground=True, now=0)
    assert list(greeting.tick(14_999)) == []
    assert list(greeting.tick(15_000)) == [Leave(CloseCode.GOING_AWAY, "no welcome in time")]
    _, effects = greeting.receive(msg(1), 0)
    assert list(effects) == [Leave(CloseCode.PROTOCOL_FAULT, "no welcome")]


def test_a_bye_is_kept_for_the_way_back() -> None:
    phase = connected()
    phase.receive(Bye("draining", 7), 0)
    assert phase.bye == Bye("draining", 7)


def test_the_app_tells_where_it_is_and_shows_fresh_tokens() -> None:
    phase = connected()
    assert list(phase.come_to(foreground=True)) == []
    assert list(phase.come_to(foreground=False)) == [Reply(State("background"))]
    assert list(phase.renew("t2")) == [Reply(Token("t2"))]


def test_only_the_newest_ids_are_remembered() -> None:
    seen = Seen()
    for number in range(SEEN_KEPT + 5):
        seen.add(f"m{number}")
    assert "m4" not in seen
    assert "m5" in seen
    assert len(seen.newest()) == SEEN_KEPT


def test_in_the_foreground_the_heartbeat_stays_at_four_and_a_half_minutes() -> None:
    heartbeat = Heartbeat()
    for _ in range(5):
        heartbeat.succeeded("wifi", heartbeat.interval_s("wifi", foreground=False))
    assert heartbeat.interval_s("wifi", foreground=True) == 270


@given(st.integers(BASE_S + 1, 4_000))
def test_the_heartbeat_settles_just_below_what_a_nat_allows(nat_s: Any) -> None:
    heartbeat = Heartbeat()
    deaths = 0
    for _ in range(60):
        interval = heartbeat.interval_s("lte", foreground=False)
        if interval < nat_s:
            heartbeat.succeeded("lte", interval)
        else:
            deaths += 1
            heartbeat.failed("lte", interval)
    settled = heartbeat.interval_s("lte", foreground=False)
    assert deaths <= 1
    assert BASE_S <= settled < max(nat_s, BASE_S + 1)
    assert settled >= min(nat_s - 70, MOST_S - 10) or settled == BASE_S


def test_five_failures_in_a_row_start_over() -> None:
    heartbeat = Heartbeat()
    for _ in range(4):
        heartbeat.succeeded("lte", heartbeat.interval_s("lte", foreground=False))
    heartbeat.failed("lte", heartbeat.interval_s("lte", foreground=False))
    good = heartbeat.interval_s("lte", foreground=False)
    assert good > BASE_S
    for _ in range(4):
        heartbeat.failed("lte", good)
    assert heartbeat.interval_s("lte", foreground=False) == BASE_S


@pytest.mark.parametrize("network", ["home", "office"])
def test_what_was_learned_belongs_to_its_network(network: Any) -> None:
    heartbeat = Heartbeat()
    heartbeat.succeeded("home", BASE_S)
    assert heartbeat.interval_s(network, foreground=False) == (330 if network == "home" else BASE_S)
