"""Protocols, named for their job. ``dispatcher.hot`` (Redis, Valkey) and ``dispatcher.ledger`` (SQL) implement them."""
