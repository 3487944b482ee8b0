"""Ids carry their own address, and nobody but us can write one that holds."""

import string

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from dispatcher.domain.clock import day_of
from dispatcher.domain.ids import (
    SHARDS,
    DeliveryRef,
    ForeignCursor,
    IdKey,
    InboxCursor,
    attempt_id,
    attempt_uuid,
    home_created,
    home_day,
    inbox_attempt_id,
    is_class,
    is_id,
    make_home,
    parse_attempt_id,
    parse_delivery_id,
    read_cursor,
    shard_of,
    write_cursor,
)
from dispatcher.domain.paths import Path

KEY = IdKey(b"k" * 32)
NAMES = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=128)
HOMES = st.builds(
    make_home,
    st.integers(1_704_067_200_000, 2_800_000_000_000),
    st.integers(0, 2**17 - 1),
    st.integers(0, SHARDS - 1),
)
REFS = st.builds(DeliveryRef, HOMES, st.integers(0, 0xFFFF))
POSITIONS = st.tuples(*[st.integers(0, 254)] * 3)


@given(st.integers(1_704_067_200_000, 2_800_000_000_000), st.integers(0, 2**20), st.integers(0, SHARDS - 1))
def test_a_home_tells_its_moment_day_and_shard(now: int, bits: int, shard: int) -> None:
    home = make_home(now, bits, shard)
    assert (home_created(home), home_day(home), shard_of(home)) == (now, day_of(now), shard)
    assert 0 <= home < 2**63


@given(REFS, NAMES, NAMES)
def test_a_delivery_id_leads_back_to_its_address(ref: DeliveryRef, app: str, user: str) -> None:
    delivery_id = KEY.delivery_id(ref, app, user)
    assert is_id(delivery_id)
    assert KEY.read_delivery(delivery_id, app, user) == ref
    assert parse_delivery_id(delivery_id) == ref


@given(REFS, NAMES, NAMES, NAMES, NAMES)
def test_another_apps_or_users_id_is_refused(ref: DeliveryRef, app: str, user: str, app2: str, user2: str) -> None:
    assume((app, user) != (app2, user2))
    assert KEY.read_delivery(KEY.delivery_id(ref, app, user), app2, user2) is None


@given(REFS, st.integers(0, 0xFFFF))
def test_nobody_turns_his_own_id_into_his_neighbours(ref: DeliveryRef, place: int) -> None:
    """Recipients of one message stand side by side: another place under the right user must not hold."""
    assume(place != ref.place)
    own = KEY.delivery_id(ref, "im", "li")
    assert KEY.read_delivery(f"{own[:16]}{place:04x}{own[20:]}", "im", "li") is None


@given(REFS, st.integers(0, 27), st.sampled_from("0123456789abcdef"))
def test_a_changed_digit_is_refused(ref: DeliveryRef, at: int, digit: str) -> None:
    own = KEY.delivery_id(ref, "im", "li")
    assume(own[at] != digit)
    assert KEY.read_delivery(own[:at] + digit + own[at + 1 :], "im", "li") is None


@given(st.text(max_size=40))
def test_what_is_no_id_is_refused_without_an_error(text: str) -> None:
    assert KEY.read_delivery(text, "im", "li") is None
    assert KEY.read_attempt(text, "im", "li") is None
    with pytest.raises(ForeignCursor):
        read_cursor(KEY, text, "im", "li")


def test_another_key_signs_other_ids() -> None:
    ref = DeliveryRef(make_home(1_800_000_000_000, 7, 3), 9)
    assert IdKey(b"o" * 32).read_delivery(KEY.delivery_id(ref, "im", "li"), "im", "li") is None
    assert "k" * 8 not in repr(KEY)


@given(REFS, POSITIONS, st.sampled_from(list(Path)))
def test_an_attempt_id_leads_back_to_its_step(ref: DeliveryRef, at: tuple[int, int, int], path: Path) -> None:
    written = attempt_id(KEY.delivery_id(ref, "im", "li"), *at, path)
    for read in (KEY.read_attempt(written, "im", "li"), parse_attempt_id(written)):
        assert read is not None
        assert (read.delivery, (read.track, read.step, read.attempt), read.path) == (ref, at, path)
    assert KEY.read_attempt(written, "im", "wang") is None


def test_a_pulled_entry_has_an_attempt_id_without_a_path() -> None:
    ref = DeliveryRef(make_home(1_800_000_000_000, 7, 3), 9)
    read = KEY.read_attempt(inbox_attempt_id(KEY.delivery_id(ref, "im", "li")), "im", "li")
    assert read is not None
    assert (read.delivery, read.path) == (ref, None)
    assert parse_attempt_id(inbox_attempt_id(KEY.delivery_id(ref, "im", "li"))) is None


@pytest.mark.parametrize("tail", ["-255.0.0l", "-0.999.0l", "-0.0.0x", "-٣.0.0l", "-0.0l", "-0.0.0l\n", "-i2", ""])
def test_attempts_that_no_state_could_hold_are_refused(tail: str) -> None:
    text = KEY.delivery_id(DeliveryRef(make_home(1_800_000_000_000, 7, 3), 9), "im", "li") + tail
    assert KEY.read_attempt(text, "im", "li") is None
    assert parse_attempt_id(text) is None


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1), NAMES)
def test_a_cursor_is_its_users_alone(epoch: int, seq: int, user: str) -> None:
    text = write_cursor(KEY, InboxCursor(epoch, seq), "im", user)
    assert read_cursor(KEY, text, "im", user) == InboxCursor(epoch, seq)
    with pytest.raises(ForeignCursor):
        read_cursor(KEY, text, "im", user + "x")
    with pytest.raises(ForeignCursor):
        read_cursor(KEY, text, "ok", user)


def test_the_same_attempt_has_the_same_uuid() -> None:
    first, again, other = attempt_uuid("a-0.0.0a"), attempt_uuid("a-0.0.0a"), attempt_uuid("a-0.0.1a")
    assert first == again != other
    assert set(first) <= set(string.hexdigits.lower() + "-")


@pytest.mark.parametrize(
    ("text", "fits"), [("a", True), ("a" * 128, True), ("", False), ("a" * 129, False), ("a b", False), ("é", False)]
)
def test_ids_at_the_door_are_visible_ascii(text: str, fits: bool) -> None:
    assert is_id(text) is fits
    assert is_class(text) is (fits and len(text) <= 32)
