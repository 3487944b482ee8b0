"""Operators' passwords: argon2id, in a thread, a few at a time (each takes 64 MiB and a core for 50 ms)."""

import asyncio

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

SHORTEST, LONGEST = 12, 1_024
_AT_ONCE = 2
_hasher = PasswordHasher()


class Passwords:
    """Hashes and checks. A login that nobody has costs as much as a wrong password."""

    def __init__(self) -> None:
        self._busy = asyncio.Semaphore(_AT_ONCE)
        self._nobody: str | None = None

    async def hash(self, password: str) -> str:
        """The text to store."""
        async with self._busy:
            return await asyncio.to_thread(_hasher.hash, password)

    async def fits(self, stored: str | None, password: str) -> bool:
        """Whether *password* is what *stored* was made of; *stored* None: never, after the same time."""
        if self._nobody is None:
            self._nobody = await self.hash("nobody's password")
        async with self._busy:
            right = await asyncio.to_thread(_fits, stored or self._nobody, password)
        return right and stored is not None


def _fits(stored: str, password: str) -> bool:
    try:
        return _hasher.verify(stored, password)
    except (VerificationError, InvalidHashError):
        return False
