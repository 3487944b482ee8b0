"""Ids that carry their own address.

A **home** id is 64 bits: milliseconds since 2024-01-01 (41 bits), a random part (17 bits), the shard (6 bits), so the
ledger's day and the hot store's shard follow from it without a read.

A **delivery id** is home, place (16 bits) and a 32-bit keyed tag of app, user and that address, as 28 hex digits: a
receipt finds its state without an index, and foreign or guessed ids are refused without a read. The tag covers the
address too: recipients of one message stand side by side in a home, and none may write a neighbour's id.

An **attempt id** is the delivery id, then ``-track.step.attempt`` and the path's letter: what woke the phone needs no
look-up either. ``-i`` stands for an entry pulled from the inbox rather than sent by a step.
"""

import re
from dataclasses import dataclass
from hashlib import blake2b
from hmac import compare_digest

from msgspec import Struct

from dispatcher.domain.clock import Clock, Millis, day_of, system_clock
from dispatcher.domain.keyring import Keyring, keyring_of
from dispatcher.domain.paths import PATH_BY_LETTER, Path

SHARDS = 64
_EPOCH_2024: Millis = 1_704_067_200_000
_ID = re.compile(r"[\x21-\x7e]{1,128}\Z")
_CLASS = re.compile(r"[a-z0-9_]{1,32}\Z")
_HEX = re.compile(r"[0-9a-f]+\Z")
_DELIVERY = re.compile(r"[0-9a-f]{28}\Z")
_ATTEMPT = re.compile(r"([0-9a-f]{28})-(?:([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})([lafps])|i)\Z")


#: Stands in the place of a user who was erased: it is nobody's id.
NOBODY = ""


def is_id(text: str) -> bool:
    """Whether *text* may be an id at our doors: 1 to 128 visible ASCII characters."""
    return _ID.match(text) is not None


def is_class(text: str) -> bool:
    """Whether *text* may name a message class."""
    return _CLASS.match(text) is not None


def make_home(now: Millis, random_bits: int, shard: int) -> int:
    """A new home id. *random_bits*: 17 used; *shard*: 0 to 63."""
    return ((now - _EPOCH_2024) & 0x1FFFFFFFFFF) << 23 | (random_bits & 0x1FFFF) << 6 | shard


def shard_of(home: int) -> int:
    """The hot-store shard that holds *home*."""
    return home & 0x3F


def home_created(home: int) -> Millis:
    """When *home* was made."""
    return (home >> 23) + _EPOCH_2024


def home_day(home: int) -> int:
    """The ledger's day partition of *home*."""
    return day_of(home_created(home))


class DeliveryRef(Struct, frozen=True, gc=False):
    """Where a delivery lives: its home and its place in it."""

    home: int
    place: int


class AttemptRef(Struct, frozen=True, gc=False):
    """One attempt: a delivery's track, step and try. ``path`` None: pulled from the inbox."""

    delivery: DeliveryRef
    track: int
    step: int
    attempt: int
    path: Path | None


class IdKey:
    """The key of the tags in delivery ids, or several while one follows another. Never prints itself.

    A delivery's tag is made with the key of its home's time, always the same one, and read with any.
    """

    __slots__ = ("_clock", "_key", "_keys", "_ring")

    def __init__(self, key: bytes | Keyring, clock: Clock = system_clock) -> None:
        self._ring = keyring_of(key)
        self._keys = tuple(
            blake2b(secret, digest_size=32, person=b"pushpath-ids").digest() for secret in self._ring.secrets
        )
        self._key = self._keys[0]
        self._clock = clock

    def __repr__(self) -> str:
        return "IdKey(...)"

    def user_tag(self, app: str, user_id: str) -> str:
        """Eight hex digits that only we can compute for this user."""
        key = self._key if len(self._keys) == 1 else self._keys[self._ring.in_use(self._clock())]
        return _tag(key, app, user_id).hex()

    def is_user_tag(self, tag: str, app: str, user_id: str) -> bool:
        """Whether *tag* is one that any of our keys gave this user."""
        return any(compare_digest(tag, _tag(key, app, user_id).hex()) for key in self._keys)

    def delivery_id(self, ref: DeliveryRef, app: str, user_id: str) -> str:
        """The id under which the world knows *ref*."""
        key = self._key if len(self._keys) == 1 else self._keys[self._ring.of_time(home_created(ref.home))]
        return f"{ref.home:016x}{ref.place:04x}{_address_tag(key, ref, app, user_id).hex()}"

    def read_delivery(self, delivery_id: str, app: str, user_id: str) -> DeliveryRef | None:
        """The address behind *delivery_id*, or None where it is no id of this app and user."""
        if _DELIVERY.match(delivery_id) is None:
            return None
        ref = DeliveryRef(int(delivery_id[:16], 16), int(delivery_id[16:20], 16))
        tag = bytes.fromhex(delivery_id[20:])
        for key in self._keys:
            if compare_digest(tag, _address_tag(key, ref, app, user_id)):
                return ref
        return None

    def read_attempt(self, attempt_id: str, app: str, user_id: str) -> AttemptRef | None:
        """The attempt behind *attempt_id*, or None where it is none of this app and user."""
        match = _ATTEMPT.match(attempt_id)
        if match is None:
            return None
        ref = self.read_delivery(match[1], app, user_id)
        if ref is None:
            return None
        if match[2] is None:
            return AttemptRef(ref, 255, 0, 0, None)
        return _attempt(ref, match)


def _tag(key: bytes, app: str, user_id: str) -> bytes:
    return blake2b(f"{app}\0{user_id}".encode(), digest_size=4, key=key).digest()


def _address_tag(key: bytes, ref: DeliveryRef, app: str, user_id: str) -> bytes:
    text = b"%016x%04x%b\0%b" % (ref.home, ref.place, app.encode(), user_id.encode())
    return blake2b(text, digest_size=4, key=key).digest()


def _attempt(ref: DeliveryRef, match: re.Match[str]) -> AttemptRef | None:
    """Track, step and attempt are bytes of a state vector; 255 stands for none."""
    track, step, attempt = int(match[2]), int(match[3]), int(match[4])
    if max(track, step, attempt) > 254:
        return None
    return AttemptRef(ref, track, step, attempt, PATH_BY_LETTER[match[5]])


def parse_delivery_id(delivery_id: str) -> DeliveryRef | None:
    """The address in *delivery_id* without checking its tag: for ids that our own store or a signed callback gave."""
    if _DELIVERY.match(delivery_id) is None:
        return None
    return DeliveryRef(int(delivery_id[:16], 16), int(delivery_id[16:20], 16))


def parse_attempt_id(attempt_id: str) -> AttemptRef | None:
    """Like :func:`parse_delivery_id` for an attempt id."""
    match = _ATTEMPT.match(attempt_id)
    if match is None or match[2] is None:
        return None
    ref = parse_delivery_id(match[1])
    if ref is None:
        return None
    return _attempt(ref, match)


def attempt_id(delivery_id: str, track: int, step: int, attempt: int, path: Path) -> str:
    """The id of one attempt."""
    return f"{delivery_id}-{track}.{step}.{attempt}{path.letter}"


def inbox_attempt_id(delivery_id: str) -> str:
    """The attempt id of an entry that the phone pulled itself."""
    return f"{delivery_id}-i"


_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}


def attempt_uuid(attempt: str) -> str:
    """A lower-case UUID for providers that want one (apns-id): the same attempt always has the same."""
    digits = blake2b(attempt.encode(), digest_size=16).hexdigest()
    # version 4, variant 1 (RFC 9562, 5.4), written out: the uuid module takes ten times as long
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{_VARIANT[digits[16]]}{digits[17:20]}-{digits[20:]}"


def device_hash(device_id: str) -> int:
    """32 bits by which a track's state recognises its device."""
    return int.from_bytes(blake2b(device_id.encode(), digest_size=4).digest(), "big")


@dataclass(frozen=True, slots=True)
class InboxCursor:
    """A position in one user's inbox. ``epoch``: the hot store's life in which ``seq`` was given."""

    epoch: int
    seq: int


class ForeignCursor(ValueError):
    """A cursor that this user was never given."""


def write_cursor(key: IdKey, cursor: InboxCursor, app: str, user_id: str) -> str:
    """The opaque text of *cursor*: epoch (32 bits), seq (64 bits), the user's tag."""
    return f"{cursor.epoch:08x}{cursor.seq:016x}{key.user_tag(app, user_id)}"


def read_cursor(key: IdKey, text: str, app: str, user_id: str) -> InboxCursor:
    """Reads what :func:`write_cursor` wrote; raises :class:`ForeignCursor` for anything else."""
    if len(text) != 32 or _HEX.match(text) is None or not key.is_user_tag(text[24:], app, user_id):
        raise ForeignCursor("the cursor is none of this user's")
    return InboxCursor(int(text[:8], 16), int(text[8:24], 16))
