"""Status webhooks with their queues, templates, clearing pushes to send, and listings of users and devices."""

from alembic import op

revision = "doors"
down_revision = "operators"

WEBHOOKS = (
    """
    CREATE TABLE webhooks (
        webhook_id text PRIMARY KEY,
        app text NOT NULL REFERENCES apps ON DELETE CASCADE,
        url text NOT NULL,
        events text[] NOT NULL,
        secret bytea NOT NULL,
        created_at bigint NOT NULL,
        tries integer NOT NULL DEFAULT 0,
        failing_since bigint,
        next_at bigint NOT NULL DEFAULT 0,
        leased_until bigint NOT NULL DEFAULT 0,
        paused_at bigint,
        paused_reason text,
        last_success_at bigint,
        last_error text,
        dropped bigint NOT NULL DEFAULT 0,
        UNIQUE (app, url)  -- registering again; an app's webhooks
    )
    """,
    """
    CREATE TABLE webhook_queue (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        webhook_id text NOT NULL REFERENCES webhooks ON DELETE CASCADE,
        app text NOT NULL,
        count integer NOT NULL,
        at bigint NOT NULL,
        batch bigint,  -- once tried: the POST it belongs to
        events bytea NOT NULL
    )
    """,
    "CREATE INDEX webhook_queue_of ON webhook_queue (webhook_id, id)",  # what waits, oldest first
    "CREATE INDEX webhook_queue_of_app ON webhook_queue (app)",  # erasure
)

TEMPLATES = (
    """
    CREATE TABLE templates (
        app text NOT NULL REFERENCES apps ON DELETE CASCADE,
        name text NOT NULL,
        texts json NOT NULL,
        default_locale text NOT NULL,
        etag text NOT NULL,
        changed_at bigint NOT NULL,
        by text NOT NULL,
        PRIMARY KEY (app, name)
    )
    """,
)

CLEARINGS = (
    """
    CREATE TABLE clearings (
        app text NOT NULL,
        message_id text NOT NULL,
        recalled_at bigint NOT NULL,
        due bigint NOT NULL,
        tries integer NOT NULL DEFAULT 0,
        cleared text[] NOT NULL DEFAULT '{}',
        PRIMARY KEY (app, message_id)
    )
    """,
    "CREATE INDEX clearings_due ON clearings (due)",
)

LISTINGS = (
    'CREATE INDEX users_listed ON users (app, user_id COLLATE "C")',
    "CREATE INDEX users_of_number ON users (app, phone_hash) WHERE phone_hash IS NOT NULL",
    'CREATE INDEX devices_listed ON devices (app, device_id COLLATE "C")',
    "CREATE INDEX erasures_by_age ON erasures (at)",
)


def upgrade() -> None:
    """Makes the tables, empty, and the indexes."""
    for statement in (*WEBHOOKS, *TEMPLATES, *CLEARINGS, *LISTINGS):
        op.execute(statement)
