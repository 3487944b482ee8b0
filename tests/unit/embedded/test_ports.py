import random
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from dispatcher.embedded.errors import PortTakenError
from dispatcher.embedded.ports import PortReservations, is_free, pick_free_port


@pytest.fixture(autouse=True)
def _own_reservations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


def test_the_preferred_port_is_taken_when_it_is_free(free: int) -> None:
    assert pick_free_port(free) == free
    assert PortReservations().pick(free) == free


def test_a_taken_port_is_replaced_by_a_free_one_only_with_auto(taken: int) -> None:
    picked = PortReservations(auto=True, dice=random.Random(1)).pick(taken)
    assert picked != taken
    assert is_free(picked)
    assert pick_free_port(taken, random.Random(1)) != taken
    with pytest.raises(PortTakenError, match=str(taken)):
        PortReservations().pick(taken)


def test_two_supervisors_never_pick_the_same_port_before_anyone_listens(free: int) -> None:
    ours, theirs = PortReservations(auto=True), PortReservations(auto=True)
    assert ours.pick(free) == free
    assert theirs.pick(free) != free
    ours.close()
    assert PortReservations().pick(free) == free
    theirs.close()


def test_one_supervisor_never_picks_a_port_twice(free: int) -> None:
    ports = PortReservations(auto=True)
    assert ports.pick(free) != ports.pick(free)
    ports.close()
