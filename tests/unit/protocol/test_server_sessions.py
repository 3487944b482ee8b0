"""The gateway's half of the conversation, moment by moment."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from dispatcher.domain.delivery import Proof
from dispatcher.domain.device_token import DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import IdKey, InboxCursor, write_cursor
from dispatcher.protocol.close_codes import CloseCode
from dispatcher.protocol.effects import Acknowledge, Effect, Farewell, Foreground, Probe, Read, Reply, Write
from dispatcher.protocol.frames import JSON, Ack, CaughtUp, Hello, Ping, Pong, State, Token, Welcome
from dispatcher.protocol.known_line import Manners
from dispatcher.protocol.server_session import (
    FIRST_PAGE,
    PAGE,
    AwaitingHello,
    Hailed,
    Heard,
    Live,
    Syncing,
    relive,
)

NOW = 1_800_000_000_000
IDS = IdKey(b"ids")
TOKENS = DeviceTokens(b"tokens")
MANNERS = Manners(tokens=TOKENS, ids=IDS)
LIFE = 3


@dataclass(frozen=True)
class Entry:
    seq: int
    delivery_id: str = "d"
    body: bytes = b'"message_id":"m","class":"chat"'


def token(device_id: str = "phone", *, user_id: str = "li", epoch: int = 1, ttl_ms: int = 3_600_000) -> str:
    who = DeviceIdentity(app="a", user_id=user_id, device_id=device_id, epoch=epoch, expires_at=NOW + ttl_ms)
    return TOKENS.mint(who, NOW)


def cursor(seq: int, *, user_id: str = "li", life: int = LIFE) -> str:
    return write_cursor(IDS, InboxCursor(life, seq), "a", user_id)


def hailed(after: str | None = None, **named: Any) -> Hailed:
    answer = AwaitingHello(NOW).receive(Hello(token=token(**named), cursor=after), NOW, MANNERS)
    assert isinstance(answer, Hailed)
    return answer


def syncing(after: str | None = None, **named: Any) -> Syncing:
    session, _, _ = hailed(after, **named).admit("s1", LIFE, NOW, MANNERS)
    assert not session.begun
    return session


def live(last: int = 10, **named: Any) -> Live:
    session, _ = syncing(**named).page(JSON, [], more=False, online=True, last_seq=last, now=NOW)
    assert isinstance(session, Live)
    return session


def message(session: Live | Syncing, seq: int, prev_seq: int, epoch: int = 1) -> bytes | Heard:
    return session.message(JSON, seq, prev_seq, epoch, "d1", "d1-0.0.0l", b'"message_id":"m1","class":"chat"', NOW)


def only(effects: Sequence[Effect]) -> Effect:
    (effect,) = effects
    return effect


@pytest.mark.parametrize("frame", [Ping(), Ack(["d"]), State("background"), Token("t")], ids=repr)
def test_a_first_frame_that_is_no_hello_ends_the_line(frame: Any) -> None:
    assert AwaitingHello(NOW).receive(frame, NOW, MANNERS) == Farewell(CloseCode.NO_HELLO, "no_hello")


@pytest.mark.parametrize(("waited", "ends"), [(4_999, False), (5_000, True)])
def test_a_hello_has_five_seconds(waited: Any, ends: Any) -> None:
    effects = AwaitingHello(NOW).tick(NOW + waited)
    assert list(effects) == ([Farewell(CloseCode.NO_HELLO, "no_hello")] if ends else [])


@pytest.mark.parametrize(
    ("hello", "code", "word"),
    [
        (Hello(token="rubbish"), CloseCode.BAD_TOKEN, "token_invalid"),
        (Hello(token=token(ttl_ms=-1)), CloseCode.BAD_TOKEN, "token_expired"),
        (Hello(token=token(), cursor="rubbish"), CloseCode.UNPARSABLE, "foreign_cursor"),
        (Hello(token=token(), cursor=cursor(5, user_id="wang")), CloseCode.UNPARSABLE, "foreign_cursor"),
    ],
)
def test_a_hello_we_do_not_take_says_why(hello: Any, code: CloseCode, word: Any) -> None:
    assert AwaitingHello(NOW).receive(hello, NOW, MANNERS) == Farewell(code, word)


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (None, Read(None, None, FIRST_PAGE)),
        (cursor(5), Read(5, None, PAGE)),
        (cursor(5, life=LIFE - 1), Read(None, None, FIRST_PAGE)),  # an older life: what is unproven is replayed
    ],
)
def test_a_cursor_says_where_reading_starts(given: Any, read: Any) -> None:
    _, greeting, first = hailed(given).admit("s1", LIFE, NOW, MANNERS)
    assert (greeting, first) == (Reply(Welcome("s1", 240)), read)


def test_catch_up_reads_on_until_nothing_is_left_then_turns_live() -> None:
    session = syncing(cursor(5))
    same, effects = session.page(JSON, [Entry(6), Entry(7)], more=True, online=False, last_seq=9, now=NOW)
    assert same is session
    assert [type(effect) for effect in effects] == [Write, Write, Read]
    assert effects[-1] == Read(5, 7, PAGE)
    _, effects = session.page(JSON, [Entry(8), Entry(9)], more=False, online=False, last_seq=9, now=NOW)
    assert effects[-1] == Read(5, 9, PAGE)
    turned, effects = session.page(JSON, [], more=False, online=True, last_seq=9, now=NOW)
    assert isinstance(turned, Live)
    assert only(effects) == Reply(CaughtUp(cursor(9), False))


def test_without_a_cursor_the_first_page_covers_all_and_says_whether_older_ones_wait() -> None:
    session = syncing()
    _, effects = session.page(JSON, [Entry(6)], more=True, online=False, last_seq=9, now=NOW)
    assert effects[-1] == Read(None, 9, PAGE)
    _, effects = session.page(JSON, [], more=False, online=True, last_seq=9, now=NOW)
    assert only(effects) == Reply(CaughtUp(cursor(9), True))


def test_what_arrives_while_syncing_only_marks_and_is_read_after() -> None:
    session = syncing(cursor(5))
    assert message(session, 10, 9) is Heard.MARKED
    turned, effects = session.page(JSON, [], more=False, online=True, last_seq=9, now=NOW)
    assert effects == [Reply(CaughtUp(cursor(9), False)), Read(5, 9, PAGE)]
    assert isinstance(turned, Live)
    assert turned.reading


def test_a_mark_that_the_last_page_covered_needs_no_read() -> None:
    session = syncing(cursor(5))
    message(session, 9, 8)
    _, effects = session.page(JSON, [], more=False, online=True, last_seq=9, now=NOW)
    assert len(effects) == 1


def test_a_session_the_store_does_not_know_gives_up() -> None:
    session = syncing(cursor(5))
    for _ in range(3):
        _, effects = session.page(JSON, [], more=False, online=False, last_seq=9, now=NOW)
    assert only(effects) == Farewell(CloseCode.TRY_LATER, "lost_place")


def test_a_message_that_follows_the_last_one_goes_straight_out() -> None:
    session = live(last=10)
    payload = message(session, 12, 10)
    assert payload == b"".join(
        (
            b'{"t":"msg","cursor":"',
            cursor(12).encode(),
            b'","delivery_id":"d1","attempt_id":"d1-0.0.0l","message_id":"m1","class":"chat"}',
        )
    )
    assert session.last == 12


@pytest.mark.parametrize(
    ("seq", "prev_seq", "epoch", "heard"),
    [
        (10, 9, 1, Heard.DROPPED),  # sent already
        (9, 8, 1, Heard.DROPPED),
        (12, 10, 2, Heard.DROPPED),  # made for another binding
        (12, 11, 1, Heard.READ),  # something is missing between
    ],
)
def test_a_message_out_of_step_is_not_sent(seq: Any, prev_seq: Any, epoch: Any, heard: Any) -> None:
    session = live(last=10)
    assert message(session, seq, prev_seq, epoch) is heard
    assert session.last == 10


def test_a_gap_is_filled_from_the_inbox_in_order() -> None:
    session = live(last=10)
    assert message(session, 12, 11) is Heard.READ
    assert session.read() == Read(None, 10, PAGE)
    assert message(session, 13, 12) is Heard.MARKED
    _, effects = session.page(JSON, [Entry(11), Entry(12)], more=False, online=True, last_seq=12, now=NOW)
    assert [type(effect) for effect in effects] == [Write, Write, Read]
    _, effects = session.page(JSON, [Entry(13)], more=False, online=True, last_seq=13, now=NOW)
    assert [type(effect) for effect in effects] == [Write]
    assert not session.reading
    assert isinstance(message(session, 14, 13), bytes)


def test_an_announced_message_that_is_gone_does_not_make_it_read_for_ever() -> None:
    session = live(last=10)
    message(session, 99, 98)  # of a store that lost it
    session.read()
    _, effects = session.page(JSON, [], more=False, online=True, last_seq=0, now=NOW)
    assert effects == []


def test_acks_pings_and_states_are_answered_as_the_table_has_it() -> None:
    session = live()
    assert only(session.receive(Ack(["d1", "m2"], "opened"), NOW)) == Acknowledge(["d1", "m2"], Proof.OPENED)
    assert only(session.receive(Ping(), NOW)) == Reply(Pong(240))
    assert list(session.receive(State("foreground"), NOW)) == []
    assert only(session.receive(State("background"), NOW)) == Foreground(False)
    assert only(session.receive(Hello(token=token()), NOW)) == Farewell(CloseCode.PROTOCOL_FAULT, "second_hello")


@pytest.mark.parametrize(("announced", "granted"), [(5, 30), (300, 300), (86_400, 1_800)])
def test_a_phone_chooses_its_heartbeat_within_bounds(announced: Any, granted: Any) -> None:
    session = live()
    assert only(session.receive(Ping(announced), NOW)) == Reply(Pong(granted))
    quiet = granted * 1_250 + 15_000
    assert list(session.tick(NOW + quiet - 1)) in ([], [Farewell(CloseCode.BAD_TOKEN, "token_expired")])
    if quiet < 3_600_000:
        assert only(session.tick(NOW + quiet)) == Farewell(CloseCode.GOING_AWAY, "heartbeat_lost")


def test_silence_after_a_message_is_probed_then_ends_the_line() -> None:
    session = live(last=10)
    message(session, 12, 10)
    assert list(session.tick(NOW + 14_999)) == []
    assert only(session.tick(NOW + 15_000)) == Probe()
    assert only(session.tick(NOW + 45_000)) == Farewell(CloseCode.GOING_AWAY, "line_dead")
    session.heard(NOW + 15_100)
    assert list(session.tick(NOW + 45_000)) == []


@pytest.mark.parametrize(("past_end_ms", "ends"), [(59_999, False), (60_000, True)])
def test_a_token_may_outlive_its_end_by_a_minute(past_end_ms: Any, ends: Any) -> None:
    session = live(ttl_ms=10_000)
    effects = session.tick(NOW + 10_000 + past_end_ms)
    assert list(effects) == ([Farewell(CloseCode.BAD_TOKEN, "token_expired")] if ends else [])


def test_a_fresh_token_keeps_the_line() -> None:
    session = live(ttl_ms=10_000)
    assert list(session.receive(Token(token(ttl_ms=100_000)), NOW)) == []
    assert list(session.tick(NOW + 100_000)) == []


@pytest.mark.parametrize(
    ("fresh", "farewell"),
    [
        (token("other"), Farewell(CloseCode.BAD_TOKEN, "token_foreign")),
        (token(user_id="wang"), Farewell(CloseCode.BAD_TOKEN, "token_foreign")),
        (token(epoch=2), Farewell(CloseCode.MOVED, "moved")),
        (token(ttl_ms=-1), Farewell(CloseCode.BAD_TOKEN, "token_expired")),
        ("rubbish", Farewell(CloseCode.BAD_TOKEN, "token_invalid")),
    ],
)
def test_a_token_of_something_else_ends_the_line(fresh: Any, farewell: Any) -> None:
    assert only(live().receive(Token(fresh), NOW)) == farewell


def test_a_new_life_of_the_store_replays_on_the_same_line() -> None:
    session = live(last=10)
    again, read = relive(session, LIFE + 1)
    assert isinstance(again, Syncing)
    assert (again.session, again.user_id) == ("s1", "li")
    assert read == Read(None, None, FIRST_PAGE)
    turned, effects = again.page(JSON, [], more=False, online=True, last_seq=40, now=NOW)
    assert isinstance(turned, Live)
    assert only(effects) == Reply(CaughtUp(cursor(40, life=LIFE + 1), False))
