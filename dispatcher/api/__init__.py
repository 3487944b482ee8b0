"""The HTTP API: authenticate, decode, refuse by name; then hand typed requests to the core."""
