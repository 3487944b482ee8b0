"""One `pushpath up` for all end-to-end tests of a worker process. Mark them `xdist_group("up")` to share it."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tests.collector import Collector, collecting
from tests.running import RunningUp, directory, running_up

GroupEnds = Callable[[str], contextlib.ExitStack]


@pytest.fixture(scope="session")
def up(until_group_ends: GroupEnds) -> Iterator[RunningUp]:
    """Everything on this machine, shared by the tests of this worker: use ids of your own."""
    with until_group_ends("up") as ends:
        yield ends.enter_context(running_up(ends.enter_context(directory("pushpath-e2e-"))))


@pytest.fixture(scope="session")
def watched(until_group_ends: GroupEnds) -> Iterator[tuple[RunningUp, Collector]]:
    """Another one, which tells a collector of ours its traces, and webhooks of this machine what happens."""
    with until_group_ends("up") as ends:
        parent = ends.enter_context(directory("pushpath-watched-"))
        collector = ends.enter_context(collecting())
        up = running_up(parent, PUSHPATH_OTLP_ENDPOINT=collector.url, PUSHPATH_WEBHOOK_PRIVATE_TARGETS="true")
        yield ends.enter_context(up), collector
