"""Texts that cannot print themselves."""

from hmac import compare_digest
from urllib.parse import urlsplit


class Secret:
    """A text that cannot print itself; ``reveal()`` where it is really needed."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The text itself."""
        return self._value

    @property
    def masked(self) -> str:
        """What may be shown."""
        return "***"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.masked!r})"

    def __str__(self) -> str:
        return self.masked

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)


class SecretUrl(Secret):
    """A URL that may hold a password; shows all but that."""

    __slots__ = ()

    @property
    def masked(self) -> str:
        """The URL without its password and query."""
        parts = urlsplit(self._value)
        userinfo, at, place = parts.netloc.rpartition("@")
        user, colon, _ = userinfo.partition(":")
        return f"{parts.scheme}://{user}{':***' if colon else ''}{at}{place}{parts.path}"
