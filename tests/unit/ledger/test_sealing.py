"""Sealing: opened only by us, only in its place, through rotations of the key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.sealing import SealBroken, Sealer

OLD, NEW = b"an old master secret", b"a new master secret!"


@given(st.binary(max_size=200), st.text(max_size=20))
def test_what_was_sealed_opens_in_its_place(plain: bytes, about: str) -> None:
    sealer = Sealer([NEW])
    sealed = sealer.seal(plain, about)
    assert sealer.open(sealed, about) == plain
    assert len(sealed) == len(plain) + 29
    with pytest.raises(SealBroken):
        sealer.open(sealed, about + "?")


@given(st.binary(max_size=60))
def test_foreign_bytes_never_open(sealed: bytes) -> None:
    with pytest.raises(SealBroken):
        Sealer([NEW, OLD]).open(sealed)


@given(st.integers(0, 40), st.integers(1, 255))
def test_a_changed_byte_breaks_the_seal(at: int, flip: int) -> None:
    sealer = Sealer([NEW])
    sealed = bytearray(sealer.seal(b"+8613800000000"))
    sealed[at % len(sealed)] ^= flip
    with pytest.raises(SealBroken):
        sealer.open(bytes(sealed))


def test_a_new_key_seals_and_the_old_one_still_opens() -> None:
    before, after = Sealer([OLD]), Sealer([NEW, OLD])
    assert after.open(before.seal(b"kept")) == b"kept"
    with pytest.raises(SealBroken):
        before.open(after.seal(b"fresh"))
    assert after.number_hash("+86138") == before.number_hash("+86138")


def test_keys_that_share_their_id_are_both_tried() -> None:
    keys = [b"master secret no. %d" % number for number in range(600)]
    for number in range(0, 600, 37):
        assert Sealer(keys).open(Sealer([keys[number]]).seal(b"x")) == b"x"


def test_a_number_hash_hides_the_number_and_depends_on_the_key() -> None:
    hashed = Sealer([NEW]).number_hash("+8613800000000")
    assert len(hashed) == 16
    assert hashed != Sealer([OLD]).number_hash("+8613800000000")
    assert hashed != Sealer([NEW]).number_hash("+8613800000001")


def test_weak_or_missing_keys_are_refused_and_no_key_is_shown() -> None:
    for keys in ([], [b"short"], [NEW, b"short"]):
        with pytest.raises(ValueError, match="16 bytes"):
            Sealer(keys)
    sealer = Sealer([NEW])
    assert NEW.decode() not in f"{sealer!r} {sealer}"
    with pytest.raises(SealBroken) as broken:
        sealer.open(b"secret that nobody should print")
    assert "nobody should" not in str(broken.value)


def test_the_nonce_comes_from_the_dice() -> None:
    sealer = Sealer([NEW], dice=lambda size: b"\1" * size)
    assert sealer.seal(b"x")[1:13] == b"\1" * 12
    assert Sealer([NEW]).seal(b"x") != Sealer([NEW]).seal(b"x")
