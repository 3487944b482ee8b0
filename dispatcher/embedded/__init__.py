"""Everything on one machine: embedded Valkey and PostgreSQL, and the supervisor behind ``pushpath up``.

This package starts processes and knows nothing of the product: it imports no other package of this repository.

- :func:`dispatcher.embedded.servers.start_servers` starts the two servers for tests and tools.
- :func:`dispatcher.embedded.up.run_up` runs servers and product processes under one supervisor.
"""
