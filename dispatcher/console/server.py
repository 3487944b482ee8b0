"""The console's process: NiceGUI on its own port, one pool of connections to the API."""

import os
from pathlib import Path

import httpx

from dispatcher.console.settings import ConsoleSettings

_STATIC = Path(__file__).with_name("static")


def run_console(settings: ConsoleSettings) -> None:
    """Serves until SIGTERM."""
    secret = settings.cookie_secret()
    os.environ["NICEGUI_STORAGE_PATH"] = str(settings.directory / "storage")  # read when NiceGUI is imported
    from nicegui import app, core, ui

    from dispatcher.console.frame import Context
    from dispatcher.console.guard import Guard
    from dispatcher.console.sessions import Sessions

    client = httpx.AsyncClient(base_url=settings.api_url, trust_env=False, limits=httpx.Limits(max_connections=100))
    app.state.console = Context(settings=settings, sessions=Sessions(client))
    from dispatcher.console import pages

    app.add_static_files("/static", _STATIC, max_cache_age=300)
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
