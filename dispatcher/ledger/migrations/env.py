"""Alembic's entry: runs on the connection that dispatcher.ledger.migrate hands over, never on one of its own."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    transaction_per_migration=False,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
