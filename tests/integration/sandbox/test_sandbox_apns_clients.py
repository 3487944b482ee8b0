"""Independent clients accept the APNs end: curl, libcurl's multi interface and aioapns (httpx has its own file)."""

import asyncio
import io
import shutil
import ssl
import subprocess
from collections import Counter
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import aioapns
import h2.connection
import h2.events
import pycurl
import pytest
from aioapns.connection import APNsProductionClientProtocol

from providers.sandbox import Sandbox

ALERT = '{"aps":{"alert":"hello"}}'


def curl_speaks_http2() -> bool:
    curl = shutil.which("curl")
    return curl is not None and b"HTTP2" in subprocess.run([curl, "--version"], capture_output=True, check=True).stdout


@pytest.mark.skipif(not curl_speaks_http2(), reason="no curl with HTTP/2 on this machine")
async def test_curl(lab: Any) -> None:
    await lab.script("apns", errors=[{"match": "gone", "status": 410, "timestamp_ms": 1454948015990}])
    headers = [f"-H{name}: {value}" for name, value in lab.apns_headers().items()]
    urls = [f"{lab.sandbox.apns_url}/3/device/{token}" for token in ("aa", "gone")]
    command = ["curl", "-sS", "--http2", "--cacert", str(lab.sandbox.ca_file), *headers, "-d", ALERT]
    done = await asyncio.to_thread(
        subprocess.run, [*command, "-w", "%{http_version} %{http_code}\n", *urls], capture_output=True, check=False
    )
    assert done.stdout.decode() == '2 200\n{"reason":"Unregistered","timestamp":1454948015990}2 410\n', done.stderr
    assert {entry["connection"] for entry in await lab.requests("apns")} == {1}


def aioapns_client(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> aioapns.APNs:
    address = urlsplit(sandbox.apns_url)
    monkeypatch.setattr(APNsProductionClientProtocol, "APNS_SERVER", address.hostname)
    monkeypatch.setattr(APNsProductionClientProtocol, "APNS_PORT", address.port)
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    context.set_alpn_protocols(["h2"])
    own = sandbox.credentials.apns
    return aioapns.APNs(
        key=own.key_pem, key_id=own.key_id, team_id=own.team_id, topic=own.topic, ssl_context=context, max_connections=1
    )


async def test_aioapns(lab: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await lab.script("apns", errors=[{"match": "bad*", "reason": "BadDeviceToken"}, {"match": "gone*", "status": 410}])
    client = aioapns_client(lab.sandbox, monkeypatch)
    tokens = ["good", *(f"{kind}{number}" for number in range(60) for kind in ("good", "bad", "gone"))]
    first, *rest = tokens
    requests = [aioapns.NotificationRequest(device_token=token, message={"aps": {"alert": "你好"}}) for token in rest]
    opening = await client.send_notification(aioapns.NotificationRequest(device_token=first, message={"aps": {}}))
    results = [opening, *await asyncio.gather(*(client.send_notification(request) for request in requests))]
    client.pool.close()
    outcomes = Counter((result.status, result.description) for result in results)
    assert outcomes == {("200", None): 61, ("400", "BadDeviceToken"): 60, ("410", "Unregistered"): 60}
    assert Counter(entry["target"] for entry in await lab.requests("apns")) == Counter(tokens)


def perform(handles: list[pycurl.Curl]) -> None:
    """Run all transfers over one connection where it can be shared."""
    multi = pycurl.CurlMulti()
    multi.setopt(pycurl.M_PIPELINING, pycurl.PIPE_MULTIPLEX)
    multi.setopt(pycurl.M_MAX_HOST_CONNECTIONS, 1)
    for handle in handles:
        multi.add_handle(handle)
    running = len(handles)
    while running:
        _, running = multi.perform()
        multi.select(0.2)
    for handle in handles:
        multi.remove_handle(handle)
    multi.close()


def transfer(url: str, headers: dict[str, str], authority: str, body: str = ALERT) -> tuple[pycurl.Curl, io.BytesIO]:
    handle, answer = pycurl.Curl(), io.BytesIO()
    handle.setopt(pycurl.URL, url)
    handle.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_2TLS)
    handle.setopt(pycurl.PIPEWAIT, 1)
    handle.setopt(pycurl.CAINFO, authority)
    handle.setopt(pycurl.PROXY, "")
    handle.setopt(pycurl.HTTPHEADER, [f"{name}: {value}" for name, value in headers.items()])
    handle.setopt(pycurl.POSTFIELDS, body)
    handle.setopt(pycurl.WRITEDATA, answer)
    handle.setopt(pycurl.TIMEOUT, 20)
    return handle, answer


async def test_pycurl_multiplexes_from_one_stream_to_many(lab: Any) -> None:
    await lab.script("apns", errors=[{"match": "bad*", "reason": "BadDeviceToken"}])
    tokens = [f"{kind}{number}" for number in range(150) for kind in ("good", "bad")]
    transfers = {
        token: transfer(
            f"{lab.sandbox.apns_url}/3/device/{token}",
            lab.apns_headers(apns_id=str(uuid4())),
            str(lab.sandbox.ca_file),
        )
        for token in tokens
    }
    await asyncio.to_thread(perform, [handle for handle, _ in transfers.values()])
    answers = {
        token: (handle.getinfo(pycurl.RESPONSE_CODE), answer.getvalue())
        for token, (handle, answer) in transfers.items()
    }
    assert answers == {
        token: (400, b'{"reason":"BadDeviceToken"}') if token.startswith("bad") else (200, b"") for token in tokens
    }
    logged = await lab.requests("apns")
    assert Counter(entry["target"] for entry in logged) == Counter(tokens)
    assert {entry["connection"] for entry in logged} == {1}


async def h2_exchange(sandbox: Sandbox, headers: dict[str, str], tokens: list[str]) -> tuple[set[str], int | None]:
    """All *tokens* in one write on the h2 library: those answered 200, and GOAWAY's last stream."""
    context = ssl.create_default_context(cafile=str(sandbox.ca_file))
    context.set_alpn_protocols(["h2"])
    address = urlsplit(sandbox.apns_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port, ssl=context)
    client = h2.connection.H2Connection()
    client.initiate_connection()
    streams: dict[int | None, str] = {}
    for token in tokens:
        stream = client.get_next_available_stream_id()
        pseudo = [(":method", "POST"), (":scheme", "https"), (":path", f"/3/device/{token}"), (":authority", "x")]
        client.send_headers(stream, [*pseudo, *headers.items()])
        client.send_data(stream, ALERT.encode(), end_stream=True)
        streams[stream] = token
    writer.write(client.data_to_send())
    answered: set[str] = set()
    last: int | None = None
    async with asyncio.timeout(10):
        while data := await reader.read(65_536):
            for event in client.receive_data(data):
                if isinstance(event, h2.events.ResponseReceived):
                    answered.add(streams[event.stream_id])
                elif isinstance(event, h2.events.ConnectionTerminated):
                    last = event.last_stream_id
    writer.close()
    return answered, last


async def test_goaway_in_the_middle_of_sixty_streams(lab: Any) -> None:
    await lab.script("apns", goaway_after=25)
    tokens = [f"t{number}" for number in range(60)]
    answered, last = await h2_exchange(lab.sandbox, lab.apns_headers(), tokens)
    assert (answered, last) == (set(tokens[:25]), 49)
    logged = await lab.requests("apns")
    assert [entry["target"] for entry in logged] == tokens
    assert [entry["answer"] is not None for entry in logged] == [True] * 25 + [False] * 35
    assert [entry["stream"] for entry in logged] == list(range(1, 121, 2))
