"""A gateway process near its limit of open files: refusals with a time, never a crash, and room again afterwards."""

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

LIMIT = 220
GATEWAY = f"""
import asyncio, resource
resource.setrlimit(resource.RLIMIT_NOFILE, ({LIMIT}, {LIMIT}))
import uvloop
from dispatcher.gateway.rehearsal import Rehearsal

async def main():
    gateway = Rehearsal().gateway()
    await gateway.start()
    print(gateway.port, flush=True)
    await asyncio.sleep(120)

uvloop.run(main())
"""
UPGRADE = (
    b"GET /v1/connect HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def port() -> Iterator[int]:
    with subprocess.Popen([sys.executable, "-c", GATEWAY], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
            assert process.poll() is None, "it lived through it"
        finally:
            process.kill()


async def knock(port: int, held: list[socket.socket]) -> bytes:
    """The status a new connection gets, empty where it is cut; those that are let in stay."""
    loop = asyncio.get_running_loop()
    knocking = socket.socket()
    knocking.setblocking(False)
    answer = b""
    with contextlib.suppress(ConnectionError):
        await loop.sock_connect(knocking, ("127.0.0.1", port))
        await loop.sock_sendall(knocking, UPGRADE)
        answer = await asyncio.wait_for(loop.sock_recv(knocking, 2_000), 5)
    if answer.startswith(b"HTTP/1.1 101 "):
        held.append(knocking)
    else:
        knocking.close()
    if answer.startswith(b"HTTP/1.1 503 "):
        assert b"\r\nRetry-After: " in answer
        assert b'"code":"overloaded"' in answer
    return answer[9:12]


async def test_beyond_the_limit_of_open_files_there_are_refusals_and_room_again_later(port: int) -> None:
    held: list[socket.socket] = []
    statuses = [await knock(port, held) for _ in range(LIMIT)]
    room = LIMIT - 96  # some files are for stores, logs and refusals
    assert statuses[:room] == [b"101"] * room
    assert set(statuses[room:]) <= {b"503", b""}
    assert b"503" in statuses
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]  # say nothing, and too many
    assert await knock(port, held) in {b"503", b""}
    for each in [*waiting, *held[:40]]:
        each.close()
    later: list[socket.socket] = []
    async with asyncio.timeout(20):  # it hears of the closed ones in its own time
        while len(later) < 40:
            await knock(port, later)
    for each in [*held, *later]:
        each.close()
