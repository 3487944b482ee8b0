"""Just enough of both servers' protocols to ask whether they answer; no driver, no event loop."""

import socket
import struct
from pathlib import Path
from typing import Protocol

#: https://www.postgresql.org/docs/current/protocol-message-formats.html, StartupMessage
_PROTOCOL_3 = 196608
_TIMEOUT = 5.0  # seconds


class _Stream(Protocol):
    def read(self, size: int, /) -> bytes: ...
    def flush(self) -> None: ...


class WireError(Exception):
    """The server did not answer, or answered with an error; `code` is PostgreSQL's SQLSTATE, if it sent one."""

    def __init__(self, text: str, code: str = "") -> None:
        super().__init__(text)
        self.code = code


def valkey_answers(path: Path) -> bool:
    """Whether the server at the socket *path* has loaded its data and serves commands."""
    try:
        with _connect(path) as connection, connection.makefile("rwb") as stream:
            stream.write(b"PING\r\n")
            stream.flush()
            return stream.readline() == b"+PONG\r\n"  # while loading: -LOADING
    except OSError:
        return False


def query(path: Path, user: str, database: str, *statements: str, timeout: float = _TIMEOUT) -> list[list[str | None]]:
    """Run *statements* one by one at the PostgreSQL socket *path* (no password); rows of the last.

    Raises WireError.
    """
    rows: list[list[str | None]] = []
    try:
        with _connect(path, timeout) as connection, connection.makefile("rwb") as stream:
            parameters = f"user\0{user}\0database\0{database}\0\0".encode()
            stream.write(struct.pack("!ii", len(parameters) + 8, _PROTOCOL_3) + parameters)
            _until_ready(stream)
            for statement in statements:
                body = statement.encode() + b"\0"
                stream.write(b"Q" + struct.pack("!i", len(body) + 4) + body)
                rows = _until_ready(stream)
            stream.write(b"X" + struct.pack("!i", 4))
            stream.flush()
    except OSError as error:
        raise WireError(f"PostgreSQL at {path} does not answer: {error}") from error
    return rows


def _connect(path: Path, timeout: float = _TIMEOUT) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout)
    try:
        connection.connect(str(path))
    except OSError:
        connection.close()
        raise
    return connection


def _until_ready(stream: _Stream) -> list[list[str | None]]:
    stream.flush()
    rows: list[list[str | None]] = []
    failure: WireError | None = None
    while True:
        head = stream.read(5)
        if len(head) < 5:
            raise failure or WireError("PostgreSQL closed the connection")
        kind, length = head[:1], struct.unpack("!i", head[1:])[0]
        body = stream.read(length - 4)
        if kind == b"E":
            failure = _failure(body)
        elif kind == b"R" and struct.unpack("!i", body[:4])[0] != 0:
            raise WireError("PostgreSQL asks for a password")
        elif kind == b"D":
            rows.append(_row(body))
        elif kind == b"Z":
            if failure is not None:
                raise failure
            return rows


def _failure(body: bytes) -> WireError:
    fields = {part[:1]: part[1:].decode(errors="replace") for part in body.split(b"\0") if part}
    return WireError(fields.get(b"M", "error"), fields.get(b"C", ""))


def _row(body: bytes) -> list[str | None]:
    values: list[str | None] = []
    at = 2
    while at < len(body):
        (length,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if length < 0 else body[at : at + length].decode())
        at += max(length, 0)
    return values
