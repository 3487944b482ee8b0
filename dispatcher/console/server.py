"""The console's process: NiceGUI on its own port, one pool of connections to the API."""

import logging
import os
from pathlib import Path

import httpx

from dispatcher.console.settings import ConsoleSettings

_STATIC = Path(__file__).with_name("static")
#: The device client for browsers, as apps would use it.
_SDK = Path(__file__).parents[1] / "client" / "js"


class _LeftEarly(logging.Filter):
    """Keeps one thing out of the log: Starlette calls it an error when a browser leaves before its page is made."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not (isinstance(error, RuntimeError) and str(error) == "No response returned.")


def run_console(settings: ConsoleSettings) -> None:
    """Serves until SIGTERM."""
    secret = settings.cookie_secret()
    os.environ.pop("PYTEST_CURRENT_TEST", None)  # a console started by somebody's test is a console all the same
    os.environ["NICEGUI_STORAGE_PATH"] = str(settings.directory / "storage")  # read when NiceGUI is imported
    from nicegui import app, core, ui

    from dispatcher.console.frame import Context
    from dispatcher.console.guard import Guard
    from dispatcher.console.sandbox_watch import SandboxWatch
    from dispatcher.console.sessions import Sessions

    logging.getLogger("uvicorn.error").addFilter(_LeftEarly())
    client = httpx.AsyncClient(base_url=settings.api_url, trust_env=False, limits=httpx.Limits(max_connections=100))
    app.state.console = Context(
        settings=settings, sessions=Sessions(client), sandbox=SandboxWatch(settings.sandbox_url, client)
    )
    from dispatcher.console import pages

    app.add_static_files("/static", _STATIC, max_cache_age=300)
    app.add_static_files("/sdk", _SDK, max_cache_age=300)
    app.on_shutdown(client.aclose)

    @app.get("/healthz", include_in_schema=False)
    def alive() -> dict[str, object]:
        return {"status": "alive", "pages": len(pages.PAGES)}

    core.app.add_middleware(Guard)
    ui.run(
        host=settings.host,
        port=settings.port,
        title="Pushpath",
        favicon=_STATIC / "favicon.svg",
        language="en-US",
        dark=False,
        show=False,
        reload=False,
        tailwind=False,
        show_welcome_message=False,
        storage_secret=secret,
        session_middleware_kwargs={"https_only": settings.secure_cookies, "same_site": "lax", "max_age": 43_200},
        binding_refresh_interval=0.5,
        reconnect_timeout=30,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
    )
