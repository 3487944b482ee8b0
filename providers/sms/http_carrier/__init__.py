"""A carrier behind a plain HTTP gateway of yours or a reseller's: the small contract is in ``provider``."""
