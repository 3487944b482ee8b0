import pytest

from dispatcher.domain.device_token import BadToken, DeviceIdentity, DeviceTokens
from dispatcher.domain.ids import DeliveryRef, IdKey, make_home
from dispatcher.domain.keyring import Keyring, MasterKey, keyring_of
from dispatcher.secret import Secret
from dispatcher.settings import key_and_time

OLDEST, OLD, NEW = b"1" * 32, b"2" * 32, b"3" * 32
FIRST, SECOND_, DAY = 1_900_000_000_000, 1_900_500_000_000, 86_400_000
RING = Keyring([MasterKey(NEW), MasterKey(OLD, SECOND_), MasterKey(OLDEST, FIRST)])


@pytest.mark.parametrize(
    ("at", "index"), [(FIRST - 1, 2), (FIRST, 1), (SECOND_ - 1, 1), (SECOND_, 0), (SECOND_ + DAY, 0)]
)
def test_each_key_has_its_time(at: int, index: int) -> None:
    assert RING.in_use(at) == index
    assert RING.of_time(at) == index


def test_without_a_time_the_newest_writes_and_the_oldest_marks() -> None:
    ring = Keyring([MasterKey(NEW), MasterKey(OLD)])
    assert (ring.in_use(FIRST), ring.of_time(FIRST)) == (0, 1)


def test_a_delivery_has_one_id_for_life() -> None:
    before = IdKey(Keyring([MasterKey(OLD)]))
    after = IdKey(Keyring([MasterKey(NEW), MasterKey(OLD, FIRST)]), lambda: FIRST + DAY)
    dropped = IdKey(NEW)
    kept, fresh = DeliveryRef(make_home(FIRST - 1, 5, 1), 0), DeliveryRef(make_home(FIRST, 5, 1), 0)
    assert after.delivery_id(kept, "im", "li") == before.delivery_id(kept, "im", "li")
    assert after.delivery_id(fresh, "im", "li") == dropped.delivery_id(fresh, "im", "li")
    for key in (before, dropped):
        assert after.read_delivery(key.delivery_id(kept, "im", "li"), "im", "li") == kept
        assert after.read_delivery(key.delivery_id(kept, "im", "li"), "im", "wu") is None


def test_an_earlier_key_signs_no_token_that_outlives_its_time_by_a_day() -> None:
    """Whoever got hold of it gains a day at most."""
    thief = DeviceTokens(OLD)
    ours = DeviceTokens(Keyring([MasterKey(NEW), MasterKey(OLD, FIRST)]))

    def token(expires_at: int) -> str:
        identity = DeviceIdentity(app="im", user_id="li", device_id="d", epoch=1, expires_at=expires_at)
        return thief.mint(identity, FIRST)

    assert ours.read(token(FIRST + DAY), FIRST + 1_000).user_id == "li"
    with pytest.raises(BadToken, match="invalid"):
        ours.read(token(FIRST + DAY + 1_000), FIRST + 1_000)


@pytest.mark.parametrize("text", ["x.y.z", "", "a.b", "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.e30.c2ln"])
def test_strangers_tokens_are_refused_by_every_key(text: str) -> None:
    with pytest.raises(BadToken):
        DeviceTokens(RING).read(text, FIRST)


@pytest.mark.parametrize(
    ("written", "secret", "until"),
    [
        ("k" * 32 + "@2030-03-17T17:46:40Z", b"k" * 32, FIRST),
        ("k" * 32 + "@2030-03-17T17:46:40.000+00:00", b"k" * 32, FIRST),
        ("k" * 32, b"k" * 32, None),
        ("k" * 32 + "@home", b"k" * 32 + b"@home", None),
    ],
)
def test_an_earlier_secret_is_written_with_its_time(written: str, secret: bytes, until: int | None) -> None:
    assert key_and_time(Secret(written)) == MasterKey(secret, until)


def test_no_key_is_shown() -> None:
    assert repr(RING) == "Keyring(of 3)"
    assert "3333" not in repr(MasterKey(NEW))
    assert keyring_of(NEW).secrets == (NEW,)
    with pytest.raises(ValueError, match="at least one"):
        Keyring([])
