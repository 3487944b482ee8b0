"""What a send costs us, beside the libraries users would take instead, in one run against the simulators.

The simulators run in a process of their own and are slower than some of the clients, so what is compared is the
client's own CPU time a send (user and system, all threads), not the wall clock. Each client sends everything several
times over and its cheapest round counts: the first one pays for imports and for code that is not warm yet, and any may
meet a neighbour in the cache.
"""

import asyncio
import gc
import io
import json
import multiprocessing
import platform
import ssl
import sys
import tempfile
import time
import warnings
from collections.abc import Awaitable, Callable, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path as FilePath
from typing import Any
from urllib.parse import urlsplit

import pycurl

from dispatcher.domain.clock import rfc3339, system_clock
from dispatcher.domain.device import PushToken
from dispatcher.domain.ids import attempt_id
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.outcome import HandedOver
from dispatcher.domain.paths import Path
from providers.base import Attempt, Provider
from providers.bench_latency import ANSWER_S, GOAL_MS, IN_FLIGHT, added_p99_ms, slow_down
from providers.credentials import ApnsCredentials, FcmCredentials
from providers.registry import build_provider
from providers.sandbox import Sandbox, SandboxSettings, load_credentials, serve

BATCH = 500
APNS_GOAL = 8.0
FCM_GOAL = 25.0
ROUNDS = 3
ADDED = f"apns_added_p99_at_{IN_FLIGHT}_in_flight"
_DELIVERY = "0123456789abcdef0000deadbeef"
_TEXT = "Are you there? 你在吗"


class BenchFailed(RuntimeError):
    """A client lost or refused sends: its figure would mean nothing."""


def _serve(directory: str, out: Connection) -> None:
    def started(sandbox: Sandbox) -> None:
        out.send((sandbox.apns_url, sandbox.fcm_url, sandbox.fcm_tls_url, str(sandbox.ca_file), sandbox.control_url))

    settings = SandboxSettings(
        directory=FilePath(directory),
        control_port=0,
        apns_port=0,
        apns_sandbox_port=0,
        fcm_port=0,
        fcm_tls_port=0,
        sms_port=0,
        log_limit=1_000,
    )
    asyncio.run(serve(settings, started))


def _attempts(path: Path, count: int, now: int) -> list[Attempt]:
    """Distinct devices, messages and ids; a body of about 300 bytes."""
    kind = "device" if path is Path.APNS else "registration"
    found = []
    for place in range(count):
        message = Message(
            app="bench",
            message_id=f"cm-{place}",
            klass="chat",
            priority=Priority.HIGH,
            body=b"",
            accepted_at=now,
            expires_at=now + 3_600_000,
            notification={"title": "Wang", "body": _TEXT, "badge": 3, "sound": "default"},
            data={"conversation_id": f"c{place}"},
        )
        found.append(
            Attempt(
                attempt_id=attempt_id(_DELIVERY, place // 250 % 250, 0, place % 250, path),
                delivery_id=_DELIVERY,
                user_id=f"u{place}",
                message=message,
                expires_at=message.expires_at,
                platform="android" if path is Path.FCM else "ios",
                token=PushToken(path=path, kind=kind, value=f"{place:064x}"),
            )
        )
    return found


async def _cost(work: Callable[[], Awaitable[int]], count: int) -> float:
    """CPU microseconds a send in the cheapest round; raises BenchFailed unless each took all *count*.

    What lives already is put out of the collector's sight: a client pays for its own garbage, not for going through
    whatever else this process holds.
    """
    gc.collect()
    gc.freeze()
    try:
        return min([await _round(work, count) for _ in range(ROUNDS)])
    finally:
        gc.unfreeze()


async def _round(work: Callable[[], Awaitable[int]], count: int) -> float:
    begin = time.process_time()
    done = await work()
    spent = time.process_time() - begin
    if done != count:
        raise BenchFailed(f"{count - done} of {count} sends failed")
    return spent / count * 1e6


async def _ours(provider: Provider, path: Path, count: int) -> float:
    now = system_clock()
    attempts = _attempts(path, count, now)
    await provider.send(attempts[:1], now)

    async def work() -> int:
        taken = 0
        for start in range(0, count, 2 * BATCH):
            halves = (attempts[start : start + BATCH], attempts[start + BATCH : start + 2 * BATCH])
            for outcomes in await asyncio.gather(*(provider.send(half, now) for half in halves if half)):
                taken += sum(isinstance(outcome, HandedOver) for outcome in outcomes)
        return taken

    try:
        return await _cost(work, count)
    finally:
        await provider.close()


async def _aioapns(url: str, ca_file: str, directory: FilePath, count: int) -> float:
    import aioapns
    from aioapns.connection import APNsProductionClientProtocol

    split = urlsplit(url)
    own = load_credentials(directory).apns
    context = ssl.create_default_context(cafile=ca_file)
    context.set_alpn_protocols(["h2"])
    client = aioapns.APNs(
        key=own.key_pem, key_id=own.key_id, team_id=own.team_id, topic=own.topic, ssl_context=context, max_connections=1
    )
    client.pool.protocol_class = type(
        "Loopback", (APNsProductionClientProtocol,), {"APNS_SERVER": split.hostname, "APNS_PORT": split.port}
    )

    def notification(place: int) -> Any:
        alert = {"title": "Wang", "body": _TEXT}
        ids = {"message_id": f"cm-{place}", "delivery_id": _DELIVERY, "attempt_id": f"{_DELIVERY}-0.0.0a"}
        aps = {"alert": alert, "mutable-content": 1, "badge": 3, "sound": "default"}
        return aioapns.NotificationRequest(
            device_token=f"{place:064x}",
            message={"conversation_id": f"c{place}", "aps": aps, "pushpath": ids},
            time_to_live=3_600,
            priority=10,
            collapse_key=f"{place:032x}",
            push_type=aioapns.PushType.ALERT,
        )

    await client.send_notification(notification(0))
    await asyncio.sleep(0.2)
    # Apple's end starts with one stream and then grants more, which aioapns miscounts and crawls. Set right by hand:
    # we compare with aioapns at its best.
    channels = client.pool.connections[0].free_channels
    channels._value = channels.bound  # noqa: SLF001

    async def work() -> int:
        taken = 0
        for start in range(0, count, 100):
            sends = [client.send_notification(notification(place)) for place in range(start, min(start + 100, count))]
            taken += sum(result.is_successful for result in await asyncio.gather(*sends))
        return taken

    try:
        return await _cost(work, count)
    finally:
        client.pool.close()


async def _bare_pycurl(requests: Sequence[tuple[str, list[str], bytes]], ca_file: str) -> float:
    """libcurl's multi interface with nothing of ours: its own loop, pooled handles, one connection."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
    idle = []
    for _ in range(200):
        easy = pycurl.Curl()
        easy.setopt(pycurl.CAINFO, ca_file)
        easy.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
        easy.setopt(pycurl.PIPEWAIT, 1)
        easy.setopt(pycurl.PROXY, "")
        easy.setopt(pycurl.WRITEDATA, io.BytesIO())
        idle.append(easy)

    async def work() -> int:
        waiting, under_way, taken = list(reversed(requests)), 0, 0
        while waiting or under_way:
            while idle and waiting:
                url, headers, body = waiting.pop()
                easy = idle.pop()
                easy.setopt(pycurl.URL, url)
                easy.setopt(pycurl.HTTPHEADER, headers)
                easy.setopt(pycurl.POSTFIELDS, body)
                multi.add_handle(easy)
                under_way += 1
            multi.perform()
            _, good, bad = multi.info_read()
            for easy in good:
                taken += easy.getinfo(pycurl.RESPONSE_CODE) == 200
            for easy in [*good, *(entry[0] for entry in bad)]:
                multi.remove_handle(easy)
                idle.append(easy)
                under_way -= 1
            if not good:
                multi.select(0.1)
        return taken

    cost = await _cost(work, len(requests))
    for easy in idle:
        easy.close()
    multi.close()
    return cost


def _firebase(url: str, directory: FilePath, count: int) -> tuple[float, float]:
    """send_each (a thread a message) and send_each_async, on HTTP/1.1 in clear text."""
    import firebase_admin
    from firebase_admin import credentials, messaging

    service = messaging._MessagingService  # noqa: SLF001 - its only door to another address
    before, service.FCM_URL = service.FCM_URL, url + "/v1/projects/{0}/messages:send"
    app = firebase_admin.initialize_app(credentials.Certificate(load_credentials(directory).fcm), name="bench")
    try:
        return asyncio.run(_firebase_sends(app, messaging, count))
    finally:
        service.FCM_URL = before
        firebase_admin.delete_app(app)


async def _firebase_sends(app: Any, messaging: Any, count: int) -> tuple[float, float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        messages = [
            messaging.Message(
                token=f"{place:064x}",
                data={"title": "Wang", "body": _TEXT, "pushpath": "{}", "conversation_id": f"c{place}"},
                android=messaging.AndroidConfig(priority="high", ttl=3_600),
            )
            for place in range(count)
        ]

    async def threads() -> int:
        return sum(
            messaging.send_each(messages[start : start + 100], app=app).success_count for start in range(0, count, 100)
        )

    async def tasks() -> int:
        taken = 0
        for start in range(0, count, 100):
            taken += (await messaging.send_each_async(messages[start : start + 100], app=app)).success_count
        return taken

    messaging.send_each(messages[:1], app=app)
    by_threads = await _cost(threads, count)
    by_tasks = await _cost(tasks, count)
    await messaging._get_messaging_service(app)._async_client.aclose()  # noqa: SLF001 - it belongs to this loop
    return by_threads, by_tasks


def _loops() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    loops: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {"": asyncio.new_event_loop}
    if sys.platform != "win32":
        import uvloop

        loops["_uvloop"] = uvloop.new_event_loop
    return loops


def _measure(urls: tuple[str, str, str, str, str], directory: FilePath, count: int) -> dict[str, float]:
    apns_url, fcm_url, fcm_tls_url, ca_file, control_url = urls
    made = load_credentials(directory)
    apns = ApnsCredentials(
        topic=made.apns.topic,
        key_pem=made.apns.key_pem,
        key_id=made.apns.key_id,
        team_id=made.apns.team_id,
        endpoint=apns_url,
        ca_file=ca_file,
    )
    fcm = FcmCredentials(service_account=dict(made.fcm), endpoint=fcm_tls_url, ca_file=ca_file)

    async def ours(credentials: ApnsCredentials | FcmCredentials, path: Path) -> float:
        return await _ours(build_provider(credentials, "http://127.0.0.1:9"), path, count)

    figures: dict[str, float] = {}
    for name, loop in _loops().items():
        with asyncio.Runner(loop_factory=loop) as runner:
            figures[f"apns_ours{name}"] = runner.run(ours(apns, Path.APNS))
            figures[f"fcm_ours{name}"] = runner.run(ours(fcm, Path.FCM))
    slow = max(100, count // 10)
    with asyncio.Runner() as runner:
        figures["apns_aioapns"] = runner.run(_aioapns(apns_url, ca_file, directory, count // 2))
        figures["apns_bare_pycurl"] = runner.run(_bare_pycurl(_prepared(apns, count), ca_file))
    figures["fcm_send_each"], figures["fcm_send_each_async"] = _firebase(fcm_url, directory, slow)
    slow_down(control_url, "apns", ANSWER_S)
    with asyncio.Runner(loop_factory=list(_loops().values())[-1]) as runner:
        figures[ADDED] = runner.run(_added(apns, max(count // 2, 3 * IN_FLIGHT)))
    return figures


async def _added(apns: ApnsCredentials, count: int) -> float:
    now = system_clock()
    provider = build_provider(apns, "http://127.0.0.1:9")
    attempts = _attempts(Path.APNS, count, now)
    try:
        await provider.send(attempts[:1], now)
        return await added_p99_ms(provider, attempts[1:], now)
    finally:
        await provider.close()


def _prepared(apns: ApnsCredentials, count: int) -> list[tuple[str, list[str], bytes]]:
    """Requests built beforehand: bare pycurl pays for the wire alone."""
    from providers.apns.requests import build_request, push_of
    from providers.apns.signer import Signer

    now = system_clock()
    bearer = Signer(apns.key_pem or "", apns.key_id or "", apns.team_id or "").bearer(now)
    found = []
    for attempt in _attempts(Path.APNS, count, now):
        request = build_request(push_of(attempt), apns.endpoint or "", apns.topic, bearer)
        found.append((request.url, [f"{name}: {value}" for name, value in request.headers], request.body))
    return found


def run(quick: bool) -> dict[str, Any]:
    """The benchmark's JSON document; *quick* sends a few hundred instead of thousands. Starts and ends its own process.

    Raises :class:`BenchFailed` where any client lost a send.
    """
    count = 1_000 if quick else 20_000
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="pushpath-bench-") as name:
        here, there = context.Pipe()
        process = context.Process(target=_serve, args=(name, there), daemon=True)
        process.start()
        try:
            if not here.poll(30):
                raise BenchFailed("the simulators did not start")
            figures = _measure(here.recv(), FilePath(name), count)
        finally:
            process.terminate()
            process.join(10)
    return _document(figures)


def _document(figures: dict[str, float]) -> dict[str, Any]:
    ratios: dict[str, dict[str, Any]] = {}
    for ours, theirs, against in (
        ("apns_ours", "apns_aioapns", "aioapns 4.0"),
        ("apns_ours_uvloop", "apns_aioapns", "aioapns 4.0"),
        ("apns_ours", "apns_bare_pycurl", "bare pycurl"),
        ("fcm_ours", "fcm_send_each", "firebase-admin send_each"),
        ("fcm_ours", "fcm_send_each_async", "firebase-admin send_each_async"),
        ("fcm_ours_uvloop", "fcm_send_each", "firebase-admin send_each"),
    ):
        if ours in figures:
            name = f"{ours}_to_{theirs.partition('_')[2]}"
            ratios[name] = {"value": round(figures[theirs] / figures[ours], 2), "against": against}
    goals = {"apns_ours_to_aioapns": APNS_GOAL, "fcm_ours_to_send_each": FCM_GOAL}
    return {
        "name": "providers",
        "at": rfc3339(system_clock()),
        "machine": f"{platform.machine()}, {platform.system()}, {multiprocessing.cpu_count()} cores",
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("aioapns", "firebase-admin", "pycurl", "hpack")},
        },
        "figures": {
            name: {"value": round(value, 1), "unit": "ms" if name == ADDED else "us CPU a send"}
            for name, value in figures.items()
        },
        "ratios": ratios,
        "targets": {
            **{
                name: {"goal": f"at least {goal:g}", "met": ratios[name]["value"] >= goal}
                for name, goal in goals.items()
            },
            ADDED: {"goal": f"at most {GOAL_MS:g} ms", "met": figures[ADDED] <= GOAL_MS},
        },
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(run("--quick" in sys.argv), indent=2) + "\n")
