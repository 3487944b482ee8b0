"""Sealing of what must not be read from a stolen disk: phone numbers and provider credentials.

AES-256-GCM under keys derived from the master secrets. A sealed value is the key's id (1 byte), a nonce (12 bytes) and
the ciphertext with its tag, so keys rotate: the first of them seals, all of them open.
"""

import secrets
from collections.abc import Callable, Sequence
from hashlib import blake2b

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_NONCE = 12
_SHORTEST = 16
_OVERHEAD = 1 + _NONCE + 16


class SealBroken(ValueError):
    """Not sealed by any of our keys, for another place, or changed since."""


def _derive(master: bytes, purpose: bytes, size: int) -> bytes:
    """A key of its own for each purpose (BLAKE2b with personalization, RFC 7693 and its reference parameters)."""
    return blake2b(master, digest_size=size, person=purpose).digest()


class Sealer:
    """Seals with the first of *keys*, opens with any. Never prints them.

    *keys*: master secrets of at least 16 bytes, newest first. :meth:`number_hash` is keyed by the last, so that adding
    a key changes no hash; dropping the last one forgets who was suppressed and what caps were used.
    """

    __slots__ = ("_by_id", "_first", "_number_key", "_random", "_tag")

    def __init__(self, keys: Sequence[bytes], *, dice: Callable[[int], bytes] = secrets.token_bytes) -> None:
        if not keys or any(len(key) < _SHORTEST for key in keys):
            raise ValueError("sealing needs at least one master secret of 16 bytes or more")
        self._by_id: dict[bytes, list[AESGCM]] = {}
        for key in keys:
            cipher = AESGCM(_derive(key, b"pushpath-seal", 32))
            self._by_id.setdefault(_derive(key, b"pushpath-keyid", 1), []).append(cipher)
        self._first = _derive(keys[0], b"pushpath-keyid", 1)
        self._number_key = _derive(keys[-1], b"pushpath-number", 32)
        self._tag = _derive(keys[0], b"pushpath-keytag", 16)
        self._random = dice

    def __repr__(self) -> str:
        return "Sealer(...)"

    def seal(self, plain: bytes, about: str = "") -> bytes:
        """*plain* sealed for one place: *about* (app and user, say) is needed to open it, and is not stored."""
        nonce = self._random(_NONCE)
        return self._first + nonce + self._by_id[self._first][0].encrypt(nonce, plain, self._first + about.encode())

    def open(self, sealed: bytes, about: str = "") -> bytes:
        """What was sealed; raises :class:`SealBroken`."""
        key_id, nonce, body = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        for cipher in self._by_id.get(key_id, ()) if len(sealed) >= _OVERHEAD else ():
            try:
                return cipher.decrypt(nonce, body, key_id + about.encode())
            except InvalidTag:
                continue
        raise SealBroken("this was not sealed by us, or not for this place")

    @property
    def tag(self) -> bytes:
        """16 bytes that tell the newest key from all others without giving it away."""
        return self._tag

    def reseal(self, sealed: bytes, about: str = "") -> bytes | None:
        """*sealed* under the newest key; None where it is already. Raises :class:`SealBroken`."""
        key_id, nonce, body = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        if key_id == self._first:  # a byte: another key may share it
            try:
                self._by_id[key_id][0].decrypt(nonce, body, key_id + about.encode())
            except InvalidTag:
                pass
            else:
                return None
        return self.seal(self.open(sealed, about), about)

    def number_hash(self, phone: str) -> bytes:
        """16 bytes that stand for a number wherever it need not be called. *phone*: E.164, as it is dialled."""
        return blake2b(phone.encode(), digest_size=16, key=self._number_key).digest()
