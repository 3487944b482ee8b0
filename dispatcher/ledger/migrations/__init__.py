"""Alembic's folder: what changed in the ledger, in order."""
