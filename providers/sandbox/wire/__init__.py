"""HTTP/1.1 and HTTP/2 server ends: protocol logic without I/O, and the thin asyncio loop around it."""
