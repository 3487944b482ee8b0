"""What several subjects share."""

from msgspec import Struct


class NoParams(Struct, forbid_unknown_fields=True):
    """A route without query parameters."""


class Empty(Struct, forbid_unknown_fields=True):
    """A body without fields."""
