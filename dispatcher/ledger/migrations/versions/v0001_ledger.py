"""The ledger as first released.

Tables that grow are cut by ``day`` (days since 1970-01-01 UTC of the home's birth) and carry a default partition, so
that no write fails for want of one. Every index is listed with the question it answers.
"""

from alembic import op

revision = "0001"
down_revision = None

KEY_PARTITIONS = 8

DIRECTORY = (
    """
    CREATE TABLE apps (
        app_id text PRIMARY KEY,
        name text NOT NULL,
        time_zone text NOT NULL,
        settings json NOT NULL,
        created_at bigint NOT NULL
    )
    """,
    """
    CREATE TABLE api_keys (
        key_id text PRIMARY KEY,  -- every authenticated request of a backend
        app_id text NOT NULL REFERENCES apps ON DELETE CASCADE,
        name text NOT NULL,
        scopes text[] NOT NULL,
        secret_hash bytea NOT NULL,
        created_at bigint NOT NULL,
        revoked_at bigint
    )
    """,
    "CREATE INDEX api_keys_of_app ON api_keys (app_id, created_at)",
    """
    CREATE TABLE credentials (
        app_id text NOT NULL REFERENCES apps ON DELETE CASCADE,
        path text NOT NULL,
        sealed bytea NOT NULL,
        changed_at bigint NOT NULL,
        PRIMARY KEY (app_id, path)
    )
    """,
    "CREATE SEQUENCE profile_revisions",
    """
    CREATE TABLE users (
        app text NOT NULL,
        user_id text NOT NULL,
        rev bigint NOT NULL DEFAULT nextval('profile_revisions'),
        phone bytea,
        phone_hash bytea,
        phone_country text,
        phone_verified boolean NOT NULL DEFAULT false,
        phone_usable_from bigint NOT NULL DEFAULT 0,
        locale text,
        time_zone text,
        quiet_from text,
        quiet_to text,
        sms_opt_in boolean NOT NULL DEFAULT false,
        muted_classes text[] NOT NULL DEFAULT '{}',
        changed_at bigint NOT NULL,
        PRIMARY KEY (app, user_id)  -- profiles of a planned batch
    )
    """,
    """
    CREATE TABLE devices (
        app text NOT NULL,
        device_id text NOT NULL,
        user_id text NOT NULL,
        epoch bigint NOT NULL,
        platform text NOT NULL,
        alerts_enabled boolean NOT NULL DEFAULT true,
        app_version text,
        os_version text,
        manufacturer text,
        locale text,
        time_zone text,
        last_seen bigint NOT NULL,
        PRIMARY KEY (app, device_id)  -- whose device is it
    )
    """,
    "CREATE INDEX devices_of_user ON devices (app, user_id)",  # profiles
    """
    CREATE TABLE device_tokens (
        app text NOT NULL,
        device_id text NOT NULL,
        path text NOT NULL,
        environment text NOT NULL,
        value_hash bytea NOT NULL,
        kind text NOT NULL,
        value text NOT NULL,
        topic text,
        state text NOT NULL,
        registered_at bigint NOT NULL,
        ended_at bigint,
        reason text,
        PRIMARY KEY (app, device_id, path, environment, value_hash),  -- profiles, verdicts
        FOREIGN KEY (app, device_id) REFERENCES devices ON DELETE CASCADE
    )
    """,
    "CREATE INDEX device_tokens_of_value ON device_tokens (app, path, value_hash)",  # a token seen on another device
    """
    CREATE TABLE former_devices (
        app text NOT NULL,
        device_hash bytea NOT NULL,
        epoch bigint NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (app, device_hash)  -- the epoch goes on rising after logout and erasure
    )
    """,
    "CREATE INDEX former_devices_by_age ON former_devices (at)",  # upkeep
    """
    CREATE TABLE erasures (
        app text NOT NULL,
        user_id text NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (app, user_id)
    )
    """,
)

OPERATORS = (
    """
    CREATE TABLE strategy_versions (
        app text NOT NULL,
        name text NOT NULL,
        version integer NOT NULL,
        document text NOT NULL,
        etag text NOT NULL,
        published_at bigint NOT NULL,
        by text NOT NULL,
        percent integer NOT NULL,
        state text NOT NULL,
        PRIMARY KEY (app, name, version)
    )
    """,
    "CREATE INDEX strategy_versions_published ON strategy_versions (app, name, version) WHERE state <> 'retired'",
    """
    CREATE TABLE strategy_drafts (
        app text NOT NULL,
        name text NOT NULL,
        document text NOT NULL,
        etag text NOT NULL,
        saved_at bigint NOT NULL,
        by text NOT NULL,
        PRIMARY KEY (app, name)
    )
    """,
    "CREATE TABLE strategy_revision (one boolean PRIMARY KEY DEFAULT true CHECK (one), revision bigint NOT NULL)",
    "INSERT INTO strategy_revision (revision) VALUES (0)",
    """
    CREATE TABLE audit (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        app text NOT NULL,
        at bigint NOT NULL,
        who text NOT NULL,
        action text NOT NULL,
        subject text NOT NULL,
        detail json NOT NULL
    )
    """,
    "CREATE INDEX audit_of_app ON audit (app, id DESC)",
    "CREATE TABLE hot_epoch (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch bigint NOT NULL)",
    "INSERT INTO hot_epoch (epoch) VALUES (0)",
)

MESSAGES = (
    """
    CREATE TABLE message_keys (
        app text NOT NULL,
        message_id text NOT NULL,
        content_hash bytea NOT NULL,
        home bigint NOT NULL,
        place integer NOT NULL,
        recipients integer NOT NULL,
        accepted_at bigint NOT NULL,
        expires_at bigint NOT NULL,
        PRIMARY KEY (app, message_id)  -- accept; a message by its client's id
    ) PARTITION BY HASH (app, message_id)
    """,
    *(
        f"CREATE TABLE message_keys_{part} PARTITION OF message_keys "
        f"FOR VALUES WITH (MODULUS {KEY_PARTITIONS}, REMAINDER {part})"
        for part in range(KEY_PARTITIONS)
    ),
    # Upkeep. Rows come in the order of their age, so a few bytes a page range do, and accepting pays next to nothing.
    "CREATE INDEX message_keys_by_age ON message_keys USING brin (expires_at) WITH (pages_per_range = 32)",
    """
    CREATE TABLE messages (
        day integer NOT NULL,
        home bigint NOT NULL,
        place integer NOT NULL,
        idx integer NOT NULL,
        app text NOT NULL,
        message_id text NOT NULL,
        class text NOT NULL,
        recipients integer NOT NULL,
        accepted_at bigint NOT NULL,
        due bigint NOT NULL,
        recalled_at bigint,
        content bytea NOT NULL,
        user_ids bytea NOT NULL,
        device_ids bytea,
        PRIMARY KEY (day, home, place)  -- rebuilding a home; one message behind its key
    ) PARTITION BY RANGE (day)
    """,
    """
    CREATE TABLE homes (
        day integer NOT NULL,
        home bigint NOT NULL,
        app text NOT NULL,
        lane text NOT NULL,
        size integer NOT NULL,
        due bigint NOT NULL,
        accepted_at bigint NOT NULL,
        admitted boolean NOT NULL DEFAULT false,
        archived_at bigint,
        PRIMARY KEY (day, home)
    ) PARTITION BY RANGE (day)
    """,
    # The reconcile, every 2 s.
    "CREATE INDEX homes_unadmitted ON homes (due) WHERE NOT admitted AND archived_at IS NULL",
    # The rebuild after a lost hot store; whether a day may be dropped.
    "CREATE INDEX homes_open ON homes (home) WHERE archived_at IS NULL",
    """
    CREATE TABLE deliveries (
        day integer NOT NULL,
        home bigint NOT NULL,
        place integer NOT NULL,
        app text NOT NULL,
        user_id text NOT NULL,
        message_id text NOT NULL,
        class text NOT NULL,
        seq bigint NOT NULL,
        ended smallint NOT NULL,
        proof smallint NOT NULL,
        confirmed_by smallint NOT NULL,
        confirmed_at bigint,
        accepted_at bigint NOT NULL,
        settled_at bigint NOT NULL,
        strategy text,
        version integer,
        rule text,
        platform text,
        body bytea NOT NULL,
        tracks bytea NOT NULL,
        PRIMARY KEY (day, home, place)  -- late proof; the deliveries of one message
    ) PARTITION BY RANGE (day)
    """,
    "CREATE INDEX deliveries_of_user ON deliveries (app, user_id, seq DESC)",  # older inbox windows
    "CREATE INDEX deliveries_of_message ON deliveries (app, message_id)",  # once the key is gone
    "CREATE INDEX deliveries_settled ON deliveries (app, settled_at)",  # listings, recorded traffic
    """
    CREATE TABLE journal (
        day integer NOT NULL,
        home bigint NOT NULL,
        seq bigint NOT NULL,
        entry bytea NOT NULL,
        PRIMARY KEY (day, home, seq)  -- one home's timeline
    ) PARTITION BY RANGE (day)
    """,
    *(
        f"CREATE TABLE {table}_default PARTITION OF {table} DEFAULT"
        for table in ("messages", "homes", "deliveries", "journal")
    ),
)

SMS = (
    """
    CREATE TABLE sms_reservations (
        app text NOT NULL,
        message_id text NOT NULL,
        user_id text NOT NULL,
        attempt_id text NOT NULL,
        number_hash bytea NOT NULL,
        prefix text NOT NULL,
        segments integer NOT NULL,
        coalesce_key text,
        state text NOT NULL,
        status text,
        rank integer NOT NULL DEFAULT -1,
        error text,
        provider_id text,
        reserved_at bigint NOT NULL,
        sent_at bigint,
        changed_at bigint NOT NULL,
        PRIMARY KEY (app, message_id, user_id)  -- at most one SMS a message and user
    )
    """,
    "CREATE UNIQUE INDEX sms_reservations_attempt ON sms_reservations (app, attempt_id)",  # callbacks
    "CREATE INDEX sms_reservations_user ON sms_reservations (app, user_id, reserved_at)",  # cap, coalescing
    "CREATE INDEX sms_reservations_number ON sms_reservations (app, number_hash, reserved_at)",  # cap
    "CREATE INDEX sms_reservations_prefix ON sms_reservations (app, prefix, reserved_at)",  # cap
    "CREATE INDEX sms_reservations_budget ON sms_reservations (app, reserved_at) INCLUDE (segments, state)",  # budget
    "CREATE INDEX sms_reservations_by_age ON sms_reservations USING brin (reserved_at)",  # upkeep
    """
    CREATE TABLE sms_joined (
        app text NOT NULL,
        attempt_id text NOT NULL,
        into_attempt text NOT NULL,
        message_id text NOT NULL,
        user_id text NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (app, attempt_id)
    )
    """,
    "CREATE INDEX sms_joined_into ON sms_joined (app, into_attempt, at)",  # who shares a status
    "CREATE INDEX sms_joined_by_age ON sms_joined (at)",  # upkeep
    """
    CREATE TABLE sms_suppressions (
        app text NOT NULL,
        number_hash bytea NOT NULL,
        reason text NOT NULL,
        at bigint NOT NULL,
        PRIMARY KEY (app, number_hash)
    )
    """,
)


def upgrade() -> None:
    """Makes every table, empty."""
    for statement in (*DIRECTORY, *OPERATORS, *MESSAGES, *SMS):
        op.execute(statement)
