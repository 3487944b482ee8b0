"""Users: what is known of a recipient, by app."""

from collections.abc import Iterable, Mapping
from typing import Any

from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Profile
from dispatcher.ledger.driver import Connection
from dispatcher.ledger.profiles import read_profiles
from dispatcher.ports.directory import UserChange

_FIELDS = (
    "phone",
    "phone_hash",
    "phone_country",
    "phone_verified",
    "locale",
    "time_zone",
    "quiet_from",
    "quiet_to",
    "sms_opt_in",
    "muted_classes",
)

#: Primary key of users; the row is held either way, and ``xmax`` is 0 on one that was just inserted.
_KNOW = """
INSERT INTO users (app, user_id, changed_at) VALUES ($1, $2, $3)
ON CONFLICT (app, user_id) DO UPDATE SET rev = nextval('profile_revisions'), changed_at = excluded.changed_at
RETURNING xmax = 0
"""
_STANDING = f"SELECT {', '.join(_FIELDS)}, phone_usable_from FROM users WHERE app = $1 AND user_id = $2 FOR UPDATE"  # noqa: S608
_CHANGE = f"""
UPDATE users SET rev = nextval('profile_revisions'), changed_at = $3, phone_usable_from = $4,
    {", ".join(f"{field} = ${number}" for number, field in enumerate(_FIELDS, start=5))}
WHERE app = $1 AND user_id = $2
"""  # noqa: S608
_TOUCH = "UPDATE users SET rev = nextval('profile_revisions'), changed_at = $3 WHERE app = $1 AND user_id = $2"
_AUDIT = """
INSERT INTO audit (app, at, who, action, subject, detail)
VALUES ($1, $2, $3, $4, $5, json_build_object('fields', $6::text[]))
"""


async def put_user(connection: Connection, change: UserChange, now: Millis) -> tuple[Profile, bool]:
    """In the caller's transaction; see :meth:`dispatcher.ports.directory.Directory.put_user`."""
    unknown = set(change.values) - set(_FIELDS)
    if unknown:
        raise ValueError(f"a user has no {', '.join(sorted(unknown))}")
    new = await connection.fetchval(_KNOW, change.app, change.user_id, now)
    before = await connection.fetchrow(_STANDING, change.app, change.user_id)
    after, usable_from = _changed(dict(before), change, now)
    await connection.execute(
        _CHANGE, change.app, change.user_id, now, usable_from, *(after[field] for field in _FIELDS)
    )
    fields = sorted(set(change.values) - {"phone_hash"})
    await connection.execute(_AUDIT, change.app, now, change.by, "user.update", change.user_id, fields)
    profiles = await read_profiles(connection, change.app, [change.user_id])
    return profiles[change.user_id], bool(new)


def _changed(before: Mapping[str, Any], change: UserChange, now: Millis) -> tuple[dict[str, Any], Millis]:
    """All fields after the change, and from when the number may be used.

    A number that replaces another one waits, also when the other was taken away some time before; it is unverified
    until somebody says otherwise.
    """
    after = {**before, **change.values}
    after["muted_classes"] = list(after["muted_classes"] or ())
    usable_from = before["phone_usable_from"]
    if after["phone_hash"] != before["phone_hash"] and after["phone"] is not None:
        usable_from = change.changed_phone_usable_from if usable_from else now
    if after["phone_hash"] != before["phone_hash"] and "phone_verified" not in change.values:
        after["phone_verified"] = False
    return after, usable_from


async def touch(
    connection: Connection, app: str, user_ids: Iterable[str], now: Millis, *, known: str | None = None
) -> None:
    """Raises the revision of users that exist, and holds their rows, in one order for everybody.

    *known*: one more, made where there is none.
    """
    for user_id in sorted({*user_ids, *([] if known is None else [known])}):
        await connection.execute(_KNOW if user_id == known else _TOUCH, app, user_id, now)


async def audit_erasure(connection: Connection, app: str, user_id: str, by: str, now: Millis) -> None:
    """Keeps that somebody was erased, by whom and when."""
    await connection.execute(_AUDIT, app, now, by, "user.erase", user_id, [])
