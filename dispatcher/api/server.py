"""Serving the API: uvicorn on the running loop, and an end that drops nobody."""

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import uvicorn

from dispatcher.api.app import create_app
from dispatcher.api.core import Core
from dispatcher.domain.clock import SECOND
from dispatcher.settings import Settings

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class _Server(uvicorn.Server):
    """Ends parked long-polls before it waits for requests under way, and returns instead of dying of the signal."""

    def __init__(self, config: uvicorn.Config, draining: asyncio.Event, started: Callable[[int], None]) -> None:
        super().__init__(config)
        self._draining = draining
        self._tell = started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():  # signals are the main thread's
            yield
            return
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._draining.set)
        try:
            yield
        finally:
            for number in _SIGNALS:
                loop.remove_signal_handler(number)

    async def main_loop(self) -> None:
        """Runs until somebody sets the drain event: a signal, or whoever made the core."""
        watching = asyncio.create_task(self._draining.wait())
        running = asyncio.create_task(super().main_loop())
        await asyncio.wait({watching, running}, return_when=asyncio.FIRST_COMPLETED)
        self.should_exit = True
        watching.cancel()
        await running

    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]
        """Tells the port once it listens: it may have been any free one."""
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            port: int = self.servers[0].sockets[0].getsockname()[1]
            self._tell(port)


async def serve_api(settings: Settings, core: Core, *, started: Callable[[int], None] = lambda _: None) -> None:
    """Serves until SIGTERM, SIGINT or whoever sets ``core.draining``; ends within ``settings.drain`` and a little.

    Parked long-polls answer at once then. Run it on uvloop (``uvloop.run``). *started* gets the port.
    Raises SystemExit where the address cannot be had.
    """
    config = uvicorn.Config(
        create_app(core),
        host=settings.api_host,
        port=settings.api_port,
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=True,
        proxy_headers=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=max(1, settings.drain // SECOND),
        backlog=2_048,
    )
    await _Server(config, core.draining, started).serve()
