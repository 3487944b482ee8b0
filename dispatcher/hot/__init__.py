"""The ports on Redis or Valkey: what is in flight. Losing all of it costs latency and repeats, never a message."""
