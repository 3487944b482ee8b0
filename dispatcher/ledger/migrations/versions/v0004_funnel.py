"""Figures of the whole way: how far deliveries got, and of which class, platform and strategy attempts and texts were.

How far a delivery got stands in the number of its end in the roll-ups, ``end + 8 * reached``
(:class:`dispatcher.ports.operations.Reached`), so counting it costs the archive no second look at its rows.
``deliveries.attempted`` says whether anything left for a provider; where it is NULL, a row of before, its tracks do.
"""

from alembic import op

revision = "funnel"
down_revision = "doors"

COLUMNS = (
    "ALTER TABLE deliveries ADD COLUMN attempted boolean",
    """
    ALTER TABLE sms_reservations
        ADD COLUMN class text NOT NULL DEFAULT '', ADD COLUMN platform text NOT NULL DEFAULT '',
        ADD COLUMN strategy text NOT NULL DEFAULT '', ADD COLUMN version integer NOT NULL DEFAULT 0
    """,
)

_ATTEMPTED = """coalesce(attempted, position('"path":"'::bytea IN tracks) > 0)"""
_REACHED = f"CASE WHEN proof >= 3 THEN 3 WHEN proof > 0 THEN 2 WHEN {_ATTEMPTED} THEN 1 ELSE 0 END"
_DELIVERED = """
    SELECT app, accepted_at - accepted_at % 60000 AS at, 2::smallint AS kind, class, confirmed_by AS path,
        coalesce(platform, '') AS platform, coalesce(strategy, '') AS strategy, coalesce(version, 0) AS version,
        ({name})::smallint AS name, count(*) AS n
    FROM {rows} GROUP BY 1, 2, 4, 5, 6, 7, 8, 9
"""
_PROVEN = """
    SELECT app, accepted_at - accepted_at % 60000, 3::smallint, class, confirmed_by, coalesce(platform, ''),
        coalesce(strategy, ''), coalesce(version, 0),
        floor(4 * ln(greatest(confirmed_at - accepted_at, 1)) / ln(2))::smallint, count(*)
    FROM {rows} WHERE confirmed_at IS NOT NULL GROUP BY 1, 2, 4, 5, 6, 7, 8, 9
"""
_SETTLED = f"{_DELIVERED.replace('{name}', f'ended + 8 * {_REACHED}')} UNION ALL {_PROVEN}"
_SMS = """
    SELECT app, reserved_at - reserved_at % 60000 AS at, 4::smallint AS kind, class, 5::smallint AS path, platform,
        strategy, version,
        coalesce(array_position(ARRAY['reserved', 'sent', 'released'], state), 0)::smallint AS name, sum(segments) AS n
    FROM {rows} GROUP BY 1, 2, 4, 6, 7, 8, 9
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


def _counting(name: str, body: str) -> str:
    """The function behind a trigger that is there."""
    return f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO rollup_deltas (app, at, kind, class, path, platform, strategy, version, name, n) {body};
            RETURN NULL;
        END $$
        """


FUNCTIONS = (
    _counting("rollup_deliveries_insert", _SETTLED.format(rows="fresh")),
    _counting("rollup_deliveries_update", _moved(_SETTLED)),
    _counting("rollup_sms_reservations_insert", _SMS.format(rows="fresh")),
    _counting("rollup_sms_reservations_update", _moved(_SMS)),
)

#: What was counted before, moved to where it is counted from now on. The functions above count the second.
_REACHED_SOMETHING = f"(SELECT * FROM deliveries WHERE {_REACHED} > 0) AS there"  # noqa: S608
MOVED = (
    f"""
    INSERT INTO rollup_deltas {_DELIVERED.format(rows=_REACHED_SOMETHING, name=f"ended + 8 * {_REACHED}")}
    UNION ALL
    SELECT app, at, kind, class, path, platform, strategy, version, name, -n
    FROM ({_DELIVERED.format(rows=_REACHED_SOMETHING, name="ended")}) AS gone
    """,  # noqa: S608
    """
    UPDATE sms_reservations s SET class = d.class, platform = coalesce(d.platform, ''),
        strategy = coalesce(d.strategy, ''), version = coalesce(d.version, 0)
    FROM deliveries d WHERE d.app = s.app AND d.message_id = s.message_id AND d.user_id = s.user_id
    """,
)


def upgrade() -> None:
    """Adds the columns, then moves what was counted; nobody else writes meanwhile."""
    for statement in (*COLUMNS, *FUNCTIONS, *MOVED):
        op.execute(statement)
