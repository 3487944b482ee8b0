"""What must never be lost, in PostgreSQL: the only package that speaks SQL, one file an aggregate.

Failure policy of this border: a call either committed or raised. :class:`dispatcher.ports.messages.LedgerUnavailable`
says that the ledger cannot be reached now and that a retry helps; every call is safe to repeat.
"""
