"""Ready-made readiness probes for child specs; each answers within about 0.2 s."""

import http.client
import socket
from collections.abc import Callable

from dispatcher.embedded.ports import HOST

_PROBE_SECONDS = 0.2


def answers_http(port: int, path: str = "/healthz") -> Callable[[], bool]:
    """Ready when a GET of *path* on 127.0.0.1:*port* is answered with 200."""

    def probe() -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_SECONDS)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            return connection.getresponse().status == http.client.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe


def listens(port: int) -> Callable[[], bool]:
    """Ready when somebody accepts connections on 127.0.0.1:*port*."""

    def probe() -> bool:
        try:
            socket.create_connection((HOST, port), timeout=_PROBE_SECONDS).close()
        except OSError:
            return False
        return True

    return probe


def all_of(*probes: Callable[[], bool]) -> Callable[[], bool]:
    """Ready when every one of *probes* is."""
    return lambda: all(probe() for probe in probes)
