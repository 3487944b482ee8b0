"""The simulators in a process of their own, for whoever measures against them."""

import asyncio
import json
import multiprocessing
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.request import ProxyHandler, Request, build_opener

from providers.sandbox import Sandbox, SandboxSettings, serve

_open = build_opener(ProxyHandler({})).open


class NotStarted(RuntimeError):
    """The simulators did not come up within half a minute."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """Where they listen. *directory* holds their credentials."""

    directory: Path
    apns_url: str
    fcm_url: str
    fcm_tls_url: str
    ca_file: str
    control_url: str

    def script(self, end: str, document: dict[str, Any]) -> None:
        """Replaces what an end was told to do."""
        body = json.dumps(document).encode()
        headers = {"Content-Type": "application/json"}
        request = Request(f"{self.control_url}/control/{end}", body, headers, method="PUT")  # noqa: S310
        _open(request, timeout=10).close()

    def requests(self, end: str) -> Iterator[dict[str, Any]]:
        """The whole log, in order."""
        after = 0
        while True:
            with _open(f"{self.control_url}/control/{end}/requests?after={after}", timeout=30) as reply:
                page = json.load(reply)["requests"]
            if not page:
                return
            yield from page
            after = page[-1]["n"]


def _serve(directory: str, log_limit: int, out: Connection) -> None:
    def started(sandbox: Sandbox) -> None:
        out.send((sandbox.apns_url, sandbox.fcm_url, sandbox.fcm_tls_url, str(sandbox.ca_file), sandbox.control_url))

    settings = SandboxSettings(
        directory=Path(directory),
        control_port=0,
        apns_port=0,
        apns_sandbox_port=0,
        fcm_port=0,
        fcm_tls_port=0,
        sms_port=0,
        log_limit=log_limit,
    )
    asyncio.run(serve(settings, started))


@contextmanager
def simulators(log_limit: int = 1_000) -> Iterator[Ends]:
    """Started, and ended with the block; the last *log_limit* requests of each end are kept. Raises NotStarted."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="pushpath-bench-") as name:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(name, log_limit, there), daemon=True)
        process.start()
        try:
            if not here.poll(30):
                raise NotStarted("the simulators did not start")
            apns, fcm, fcm_tls, ca_file, control = here.recv()
            yield Ends(
                directory=Path(name),
                apns_url=apns,
                fcm_url=fcm,
                fcm_tls_url=fcm_tls,
                ca_file=ca_file,
                control_url=control,
            )
        finally:
            process.terminate()
            process.join(10)
