"""Operators and their sessions, block lists, replays; and roll-ups, so that figures need no scan.

Roll-ups are kept by triggers, in the very transaction that changes what they count: a repeated archive inserts nothing
and so counts nothing, a late proof moves one from one end to another. A trigger only appends to ``rollup_deltas``,
which has no index and no conflict; the upkeep folds deltas into ``rollups`` in one statement. Whoever reads adds up
both.
"""

from alembic import op

revision = "operators"
down_revision = "0002"

OPERATORS = (
    """
    CREATE TABLE operators (
        login text PRIMARY KEY,
        role text NOT NULL,
        apps text[],  -- NULL: all
        password_hash text NOT NULL,
        created_at bigint NOT NULL,
        changed_at bigint NOT NULL,
        disabled_at bigint
    )
    """,
    """
    CREATE TABLE operator_sessions (
        session_id text PRIMARY KEY,  -- every authenticated request of an operator
        login text NOT NULL REFERENCES operators ON DELETE CASCADE,
        secret_hash bytea NOT NULL,
        signed_in_at bigint NOT NULL,
        expires_at bigint NOT NULL
    )
    """,
    "CREATE INDEX operator_sessions_by_age ON operator_sessions (expires_at)",  # upkeep
    "CREATE INDEX operator_sessions_of_login ON operator_sessions (login)",  # disabling
    """
    CREATE TABLE blocks (
        app text NOT NULL,
        kind text NOT NULL,
        value text NOT NULL,
        reason text NOT NULL,
        until bigint,
        by text NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (app, kind, value)
    )
    """,
    """
    CREATE TABLE replays (
        app text NOT NULL,
        home bigint NOT NULL,
        place integer NOT NULL,
        message_id text NOT NULL,
        by text NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (app, home, place)  -- which dead letters were replayed
    )
    """,
    "CREATE INDEX replays_by_age ON replays (at)",  # upkeep
    """
    CREATE TABLE resealed (
        key_tag bytea PRIMARY KEY,  -- of the key with which everything was sealed again
        at bigint NOT NULL
    )
    """,
)

_DIMENSIONS = """
        kind smallint NOT NULL,  -- dispatcher.ledger.rollups.Kind
        class text NOT NULL,
        path smallint NOT NULL,
        platform text NOT NULL,
        strategy text NOT NULL,
        version integer NOT NULL,
        name smallint NOT NULL,  -- end, bucket of the histogram, state or outcome, by kind
"""

ROLLUPS = (
    f"""
    CREATE TABLE rollup_deltas (
        app text NOT NULL,
        at bigint NOT NULL,  -- the minute
        {_DIMENSIONS}
        n bigint NOT NULL
    )
    """,
    f"""
    CREATE TABLE rollups (
        app text NOT NULL,
        tier smallint NOT NULL,  -- 0 minutes, 1 hours, 2 days
        at bigint NOT NULL,
        {_DIMENSIONS}
        n bigint NOT NULL,
        PRIMARY KEY (app, tier, at, kind, class, path, platform, strategy, version, name)
    ) WITH (fillfactor = 80)
    """,
    "CREATE INDEX rollups_by_age ON rollups (tier, at)",  # upkeep
    # One page of a listing, whatever is asked for: a range for each class and end, merged.
    "CREATE INDEX deliveries_listing ON deliveries (app, class, ended, home DESC, place DESC)",
)

_SETTLED = """
    SELECT app, accepted_at - accepted_at % 60000 AS at, 2::smallint AS kind, class, confirmed_by AS path,
        coalesce(platform, '') AS platform, coalesce(strategy, '') AS strategy, coalesce(version, 0) AS version,
        ended AS name, count(*) AS n
    FROM {rows} GROUP BY 1, 2, 4, 5, 6, 7, 8, 9
    UNION ALL
    SELECT app, accepted_at - accepted_at % 60000, 3::smallint, class, confirmed_by, coalesce(platform, ''),
        coalesce(strategy, ''), coalesce(version, 0),
        floor(4 * ln(greatest(confirmed_at - accepted_at, 1)) / ln(2))::smallint, count(*)
    FROM {rows} WHERE confirmed_at IS NOT NULL GROUP BY 1, 2, 4, 5, 6, 7, 8, 9
"""
_ACCEPTED = """
    SELECT app, accepted_at - accepted_at % 60000, 1::smallint, class, 0::smallint, '', '', 0, 0::smallint,
        sum(recipients)
    FROM {rows} GROUP BY 1, 2, 4
"""
_SMS = """
    SELECT app, reserved_at - reserved_at % 60000 AS at, 4::smallint AS kind, '' AS class, 5::smallint AS path,
        '' AS platform, '' AS strategy, 0 AS version,
        coalesce(array_position(ARRAY['reserved', 'sent', 'released'], state), 0)::smallint
            AS name,
        sum(segments) AS n
    FROM {rows} GROUP BY 1, 2, 9
"""


def _moved(select: str) -> str:
    """What an update changed: the new rows counted up, the old ones down."""
    return f"""
        SELECT app, at, kind, class, path, platform, strategy, version, name, sum(n) FROM (
            {select.format(rows="fresh")}
            UNION ALL
            SELECT app, at, kind, class, path, platform, strategy, version, name, -n
            FROM ({select.format(rows="former")}) AS gone
        ) AS both_sides GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9 HAVING sum(n) <> 0
    """  # noqa: S608


def _trigger(table: str, event: str, body: str) -> tuple[str, str]:
    """A function and its trigger, once a statement."""
    name = f"rollup_{table}_{event.lower()}"
    seen = "NEW TABLE AS fresh" + (" OLD TABLE AS former" if event == "UPDATE" else "")
    return (
        f"""
        CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO rollup_deltas (app, at, kind, class, path, platform, strategy, version, name, n) {body};
            RETURN NULL;
        END $$
        """,
        (
            f"CREATE TRIGGER {name} AFTER {event} ON {table} REFERENCING {seen} "
            f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
        ),
    )


TRIGGERS = (
    *_trigger("messages", "INSERT", _ACCEPTED.format(rows="fresh")),
    *_trigger("deliveries", "INSERT", _SETTLED.format(rows="fresh")),
    *_trigger("deliveries", "UPDATE", _moved(_SETTLED)),
    *_trigger("sms_reservations", "INSERT", _SMS.format(rows="fresh")),
    *_trigger("sms_reservations", "UPDATE", _moved(_SMS)),
)

#: What was there before.
BACKFILL = tuple(
    f"INSERT INTO rollup_deltas {select.format(rows=table)}"
    for select, table in ((_ACCEPTED, "messages"), (_SETTLED, "deliveries"), (_SMS, "sms_reservations"))
)


def upgrade() -> None:
    """Makes the tables, counts what is there, then watches what comes."""
    for statement in (*OPERATORS, *ROLLUPS, *BACKFILL, *TRIGGERS):
        op.execute(statement)
