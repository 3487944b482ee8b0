"""``pushpath bench schedule``: how late scheduled messages are released by a whole ``up``, also while its worker dies.

Late is against the moment each is due, for those that share a minute with thousands against the moment that
``dispatcher.pipeline.release`` gives them. Times are those of the timelines: when planned, and when APNs had taken it.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from dispatcher.bench.processes import command, stopped_after, surroundings
from dispatcher.bench.report import report
from dispatcher.embedded.places import DataDirectory
from dispatcher.pipeline.release import offset

READY_WITHIN_S = 100.0
HOME = 500  #: a batch of so many is one home
GOAL_S = 2.0


def run(*, quick: bool = False) -> dict[str, Any]:
    """Part ``schedule``: a crowd due at one moment, single ones each at their own, and the same across a kill -9."""
    shape = Shape(crowd=1_000, singles=40) if quick else Shape(crowd=3_000, singles=300)
    with _up() as (up, _):
        return asyncio.run(_measure(up, shape))


@contextmanager
def _up() -> Iterator[tuple[dict[str, Any], Path]]:
    parent = Path(tempfile.mkdtemp(prefix="pushpath-schedule-"))
    parent.chmod(0o711)
    data = parent / ".data"
    with (parent / "up.out").open("wb") as output:
        process = subprocess.Popen(  # noqa: S603 - our own program
            command("up", "--data", str(data), "--ports", "auto"),
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=parent,
            env=surroundings({}),
        )
    try:
        with stopped_after(process, 20):
            until = time.monotonic() + READY_WITHIN_S
            while not (data / "up.json").exists():
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError(f"up was not ready:\n{(parent / 'up.out').read_text()}")
                time.sleep(0.1)
            yield json.loads((data / "up.json").read_text()), data
    finally:
        DataDirectory(data, fresh=True).discard()
        shutil.rmtree(parent, ignore_errors=True)


Figures = dict[str, tuple[float, str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How many are due at one moment, how many alone within *within*; *ahead*: time for accepting them all."""

    crowd: int
    singles: int
    ahead: timedelta = timedelta(seconds=12)
    within: timedelta = timedelta(seconds=30)


@asynccontextmanager
async def _api(up: dict[str, Any]) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(
        base_url=up["api_url"], headers=headers, timeout=60, trust_env=False, limits=limits
    ) as api:
        yield api


async def _measure(up: dict[str, Any], shape: Shape) -> dict[str, Any]:
    figures = await released(up, shape) | await _across_a_kill(up, shape.singles // 3)
    return report(
        "schedule",
        figures,
        targets={
            "crowd": ("p99 within 2 s of the spread moment", figures["crowd_p99"][0] <= GOAL_S),
            "singles": ("handed over, p99 within 2 s", figures["singles_handed_over_p99"][0] <= GOAL_S),
            "worker_killed": ("p99 within 2 s", figures["worker_killed_p99"][0] <= GOAL_S),
        },
    )


async def released(up: dict[str, Any], shape: Shape) -> Figures:
    """Seconds by which a crowd and single messages are late in a running ``up`` (its ``up.json``)."""
    async with _api(up) as api:
        await _each([_phone(api, number) for number in range(shape.singles)])
        due = datetime.now(UTC) + shape.ahead
        names = await _dispatch_crowd(api, shape.crowd, due)
        alone = await _dispatch_singles(api, "a", shape.singles, due, shape.within)
        await _until(due + shape.within + max(shape.within / 3, timedelta(seconds=2)))
        together = await _lateness_of_crowd(api, names, due)
        planned, handed = await _lateness(api, alone)
    return {
        "crowd": (len(together), "deliveries due at one moment"),
        "crowd_p99": (_at(together, 0.99), "s after the moment it was spread to"),
        "singles": (len(planned), f"moments within {shape.within.total_seconds():g} s"),
        "singles_planned_p50": (_at(planned, 0.5), "s late"),
        "singles_planned_p99": (_at(planned, 0.99), "s late"),
        "singles_handed_over_p99": (_at(handed, 0.99), "s late"),
        "singles_handed_over_max": (max(handed), "s late"),
    }


async def _across_a_kill(up: dict[str, Any], singles: int) -> Figures:
    """The same for phones of :func:`released` while the one worker that plans and sends is killed and comes back."""
    async with _api(up) as api:
        begin = datetime.now(UTC) + timedelta(seconds=12)
        killed = await _dispatch_singles(api, "k", singles, begin, timedelta(seconds=20))
        await _until(begin + timedelta(seconds=8))
        os.kill(up["pids"]["worker"], signal.SIGKILL)
        await _until(begin + timedelta(seconds=45))
        across, _ = await _lateness(api, killed)
    unit = "s late, of those due 8 s before to 12 s after"
    return {
        "worker_killed_p50": (_at(across, 0.5), unit),
        "worker_killed_p99": (_at(across, 0.99), unit),
        "worker_killed_max": (max(across), "s late"),
    }


async def _phone(api: httpx.AsyncClient, number: int) -> None:
    token = {"path": "apns", "kind": "device", "value": f"{number:064x}", "environment": "production"}
    body = {"user_id": f"single-{number}", "platform": "ios", "tokens": [{**token, "topic": "com.example.im"}]}
    (await api.put(f"/v1/devices/phone-{number}", json=body)).raise_for_status()


async def _dispatch_crowd(api: httpx.AsyncClient, size: int, due: datetime) -> list[str]:
    """In the bulk lane, so that the single ones of the same minute do not count among it."""
    names, low = [f"crowd-{number}" for number in range(size)], {"priority": "low", "not_before": _text(due)}
    for start in range(0, size, HOME):
        messages = [
            {"message_id": name, "to": {"user_ids": [f"u-{name}"]}, "data": {}, **low}
            for name in names[start : start + HOME]
        ]
        answer = await api.post("/v1/messages/batch", json={"messages": messages})
        if any(result["status"] != 202 for result in answer.raise_for_status().json()["results"]):
            raise RuntimeError("a scheduled message was refused")
    return names


async def _dispatch_singles(
    api: httpx.AsyncClient, run_name: str, count: int, begin: datetime, within: timedelta
) -> dict[str, datetime]:
    due = {f"single-{run_name}-{number}": begin + within * number / count for number in range(count)}

    async def one(number: int, name: str, at: datetime) -> None:
        body = {"message_id": name, "to": {"user_ids": [f"single-{number}"]}, "notification": {"body": "b"}}
        (await api.post("/v1/messages", json={**body, "not_before": _text(at)})).raise_for_status()

    await _each([one(number, name, at) for number, (name, at) in enumerate(due.items())])
    return due


async def _lateness_of_crowd(api: httpx.AsyncClient, names: Sequence[str], due: datetime) -> list[float]:
    planned = sorted(await _each([_moment(api, name, "planned") for name in names]))
    spread = [offset(place // HOME * HOME, len(names)) / 1_000 for place in range(len(names))]
    return sorted((at - due).total_seconds() - late for at, late in zip(planned, spread, strict=True))


async def _lateness(api: httpx.AsyncClient, due: dict[str, datetime]) -> tuple[list[float], list[float]]:
    """How late they were planned, and handed over."""
    planned = await _each([_moment(api, name, "planned") for name in due])
    handed = await _each([_moment(api, name, "outcome") for name in due])
    moments = list(due.values())
    return (
        sorted((at - wanted).total_seconds() for at, wanted in zip(planned, moments, strict=True)),
        sorted((at - wanted).total_seconds() for at, wanted in zip(handed, moments, strict=True)),
    )


async def _moment(api: httpx.AsyncClient, name: str, kind: str) -> datetime:
    """When it first happened; now, where it has not."""
    events = (await api.get(f"/v1/messages/{name}/timeline")).raise_for_status().json()["events"]
    found = [event["at"] for event in events if event["kind"] == kind and event["path"] != "longconn"]
    return datetime.fromisoformat(found[0]) if found else datetime.now(UTC)


async def _each(work: Sequence[Any]) -> list[Any]:
    return list(await asyncio.gather(*work))


async def _until(moment: datetime) -> None:
    await asyncio.sleep(max((moment - datetime.now(UTC)).total_seconds(), 0))


def _text(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]
