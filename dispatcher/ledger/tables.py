"""Tables of the plainer aggregates, for queries built with SQLAlchemy. The schema itself is in migrations/."""

from sqlalchemy import ARRAY, JSON, BigInteger, Boolean, Column, Double, Integer, LargeBinary, MetaData, Table, Text

metadata = MetaData()

apps = Table(
    "apps",
    metadata,
    Column("app_id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("time_zone", Text, nullable=False),
    Column("settings", JSON, nullable=False),
    Column("created_at", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("key_id", Text, primary_key=True),
    Column("app_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("revoked_at", BigInteger),
)

credentials = Table(
    "credentials",
    metadata,
    Column("app_id", Text, primary_key=True),
    Column("path", Text, primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    Column("changed_at", BigInteger, nullable=False),
)

strategy_versions = Table(
    "strategy_versions",
    metadata,
    Column("app", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("document", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("published_at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
    Column("percent", Integer, nullable=False),
    Column("state", Text, nullable=False),
)

strategy_drafts = Table(
    "strategy_drafts",
    metadata,
    Column("app", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("document", Text, nullable=False),
    Column("etag", Text, nullable=False),
    Column("saved_at", BigInteger, nullable=False),
    Column("by", Text, nullable=False),
)

strategy_revision = Table(
    "strategy_revision",
    metadata,
    Column("one", Boolean, primary_key=True),
    Column("revision", BigInteger, nullable=False),
)

learning_switches = Table(
    "learning_switches",
    metadata,
    Column("app", Text, primary_key=True),
    Column("enabled", Boolean, nullable=False),
)

learning_pins = Table(
    "learning_pins",
    metadata,
    Column("app", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("ack_rate", Double),
    Column("p95_s", Double),
)

audit = Table(
    "audit",
    metadata,
    Column("id", BigInteger, primary_key=True),
    Column("app", Text, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("subject", Text, nullable=False),
    Column("detail", JSON, nullable=False),
)
