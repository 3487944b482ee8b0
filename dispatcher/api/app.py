"""The HTTP API as an ASGI app."""

from functools import cache
from importlib.metadata import PackageNotFoundError, version

import msgspec
from litestar import Litestar
from litestar.datastructures import State

from dispatcher.api import docs_page, openapi
from dispatcher.api.access import Access
from dispatcher.api.answers import on_error
from dispatcher.api.core import Core
from dispatcher.api.door import Door
from dispatcher.api.hot_lane import HotLane
from dispatcher.api.routes import (
    apps,
    devices,
    inbox,
    looking,
    messages,
    operations,
    operators,
    people,
    providers,
    strategies,
    templates,
    users,
    webhooks,
)

ROUTES = (
    *messages.ROUTES,
    *users.ROUTES,
    *devices.ROUTES,
    *people.ROUTES,
    *inbox.ROUTES,
    *strategies.ROUTES,
    *templates.ROUTES,
    *webhooks.ROUTES,
    *apps.ROUTES,
    *operators.ROUTES,
    *looking.ROUTES,
    *providers.ROUTES,
    *operations.ROUTES,
)

#: What a request may weigh, batches aside.
MAX_BODY_BYTES = 512 * 1024


def create_app(core: Core) -> Litestar:
    """All routes over *core*; every error leaves as ``application/problem+json``."""
    description, page = _description()
    access = Access(core)
    app = Litestar(
        route_handlers=ROUTES,
        before_request=access.admit,  # not a guard: for each of those Litestar copies the whole handler
        exception_handlers={Exception: on_error},
        request_max_body_size=MAX_BODY_BYTES,
        openapi_config=None,
        logging_config=None,
        state=State({"core": core, "openapi": description, "docs": page}),
        debug=False,
    )
    app.asgi_handler = Door(app.asgi_handler, core, HotLane(app, access, MAX_BODY_BYTES, core))
    return app


@cache
def _description() -> tuple[bytes, bytes]:
    """The OpenAPI document and its page; they follow from the code alone."""
    document = openapi.describe(ROUTES, _version())
    return msgspec.json.encode(document), docs_page.render(document)


def _version() -> str:
    try:
        return version("pushpath")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
