"""The operators' web console: a client of the public HTTP API, in a process of its own."""
