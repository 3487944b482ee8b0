"""Which version a user gets while a new one is rolled out: a share of users, stable by user id."""

from __future__ import annotations

from hashlib import blake2b


def share_of(app_id: str, strategy: str, user_id: str) -> float:
    """A user's fixed place in 0..100 for this strategy of this app, evenly spread over users.

    The version takes no part, so a rollout that grows keeps whom it has.
    """
    key = "\x00".join((app_id, strategy, user_id)).encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(key, digest_size=6).digest()) / 2**48 * 100


def gets_new(app_id: str, strategy: str, user_id: str, percent: float) -> bool:
    """Whether this user is planned with the version published to `percent` (0 to 100) of users."""
    return percent >= 100 or share_of(app_id, strategy, user_id) < percent
