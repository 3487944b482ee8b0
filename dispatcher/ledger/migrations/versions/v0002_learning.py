"""What is learned from receipts: archived histories, and the operators' word on them; who joined which SMS."""

from alembic import op

revision = "0002"
down_revision = "0001"

LEARNING = (
    """
    CREATE TABLE learned (
        app text NOT NULL,
        key text NOT NULL,  -- 'u:' and a user, or 's:' and a segment
        history bytea NOT NULL,
        changed_at bigint NOT NULL,
        PRIMARY KEY (app, key)  -- what the hot store lacks
    )
    """,
    "CREATE INDEX learned_by_age ON learned (changed_at)",  # forgetting
    """
    CREATE TABLE learning_switches (
        app text PRIMARY KEY,
        enabled boolean NOT NULL
    )
    """,
    """
    CREATE TABLE learning_pins (
        app text NOT NULL,
        key text NOT NULL,
        ack_rate double precision,
        p95_s double precision,
        PRIMARY KEY (app, key)
    )
    """,
    "CREATE INDEX sms_joined_message ON sms_joined (app, user_id, message_id)",  # a joiner's turn
)


def upgrade() -> None:
    """Makes the tables, empty."""
    for statement in LEARNING:
        op.execute(statement)
