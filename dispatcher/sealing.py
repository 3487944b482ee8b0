"""Sealing of what must not be read from a stolen disk: phone numbers and provider credentials.

AES-256-GCM under keys derived from the master secrets. A sealed value is the key's id (1 byte), a nonce (12 bytes) and
the ciphertext with its tag, so keys rotate: the one in use seals, all of them open.
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
    """Seals with the key in use, opens with any. Never prints them.

    *keys*: master secrets of at least 16 bytes, newest first; *in_use*: which of them seals now.
    :meth:`number_hash` is keyed by the last, so that adding a key changes no hash; dropping the last one forgets who
    was suppressed and what caps were used.
    """

    __slots__ = ("_by_id", "_ciphers", "_in_use", "_number_key", "_random", "_tags")

    def __init__(
        self,
        keys: Sequence[bytes],
        *,
        in_use: Callable[[], int] = lambda: 0,
        dice: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        if not keys or any(len(key) < _SHORTEST for key in keys):
            raise ValueError("sealing needs at least one master secret of 16 bytes or more")
        self._by_id: dict[bytes, list[AESGCM]] = {}
        self._ciphers: list[tuple[bytes, AESGCM]] = []
        for key in keys:
            key_id, cipher = _derive(key, b"pushpath-keyid", 1), AESGCM(_derive(key, b"pushpath-seal", 32))
            self._ciphers.append((key_id, cipher))
            self._by_id.setdefault(key_id, []).append(cipher)
        self._number_key = _derive(keys[-1], b"pushpath-number", 32)
        self._tags = [_derive(key, b"pushpath-keytag", 16) for key in keys]
        self._in_use = in_use
        self._random = dice

    def __repr__(self) -> str:
        return "Sealer(...)"

    def seal(self, plain: bytes, about: str = "") -> bytes:
        """*plain* sealed for one place: *about* (app and user, say) is needed to open it, and is not stored."""
        nonce = self._random(_NONCE)
        key_id, cipher = self._ciphers[self._in_use()]
        return key_id + nonce + cipher.encrypt(nonce, plain, key_id + about.encode())

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
        """16 bytes that tell the key in use from all others without giving it away."""
        return self._tags[self._in_use()]

    def reseal(self, sealed: bytes, about: str = "") -> bytes | None:
        """*sealed* under the key in use; None where it is already. Raises :class:`SealBroken`."""
        key_id, nonce, body = sealed[:1], sealed[1 : 1 + _NONCE], sealed[1 + _NONCE :]
        current, cipher = self._ciphers[self._in_use()]
        if key_id == current and len(sealed) >= _OVERHEAD:  # a byte: another key may share it
            try:
                cipher.decrypt(nonce, body, key_id + about.encode())
            except InvalidTag:
                pass
            else:
                return None
        return self.seal(self.open(sealed, about), about)

    def number_hash(self, phone: str) -> bytes:
        """16 bytes that stand for a number wherever it need not be called. *phone*: E.164, as it is dialled."""
        return blake2b(phone.encode(), digest_size=16, key=self._number_key).digest()

    def erased_name(self, app: str, user_id: str) -> str:
        """What the audit says of a user who was erased: who knows the id can ask for it, nobody can read it back."""
        told = f"{app}\x1f{user_id}".encode()
        return f"erased:{blake2b(told, digest_size=12, key=self._number_key, person=b'erased').hexdigest()}"
