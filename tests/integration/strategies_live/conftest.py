"""The pipeline's world, with strategies published the way operators do it."""

from collections.abc import Awaitable, Callable

import pytest

from tests.integration.pipeline.conftest import APP, World
from tests.integration.pipeline.conftest import world as world

Publish = Callable[..., Awaitable[int]]


@pytest.fixture
def publish(world: World) -> Publish:
    """Stores a document as the draft of its name and makes it live; answers the version."""

    async def made(document: str, name: str = "default", percent: int = 100) -> int:
        store = world.stores.strategies
        standing = [one for one in await store.published(APP) if one.name == name]
        etag = standing[0].etag if standing else None
        await store.put_draft(APP, name, document, if_match=etag, by="ops", now=world.now)
        live = await world.core.publish_strategy(APP, name, percent, "ops", world.now)
        assert live.version is not None
        return live.version

    return made
