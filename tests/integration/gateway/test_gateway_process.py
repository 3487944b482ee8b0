"""The gateway as a process: SIGTERM, TLS in process, its counters."""

import asyncio
import datetime
import json
import os
import signal
import ssl
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from websockets.asyncio.client import connect

from dispatcher.gateway.rehearsal import Rehearsal
from dispatcher.gateway.settings import GatewaySettings


def certificate(folder: Path, serial: int) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    chain, secret = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return chain, secret


async def served_serial(port: int) -> int:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    seen = x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    writer.close()
    await writer.wait_closed()
    return seen.serial_number


async def test_tls_in_process_is_spoken_and_a_new_certificate_is_taken_up(tmp_path: Path) -> None:
    chain, key = certificate(tmp_path, 11)
    world = Rehearsal()
    gateway = world.gateway(GatewaySettings(port=0, tls_certificate=str(chain), tls_key=str(key)))
    await gateway.start()
    trusting = ssl.create_default_context(cafile=str(chain))
    token = await world.bind("li", "phone-1")
    url = f"wss://localhost:{gateway.port}/v1/connect"
    async with connect(url, host="127.0.0.1", ssl=trusting, proxy=None) as socket:
        await socket.send(json.dumps({"t": "hello", "token": token}))
        assert json.loads(await socket.recv())["t"] == "welcome"
        assert await served_serial(gateway.port) == 11
        chain.write_text("broken")
        os.utime(chain, (1, 1))
        gateway.tick()
        assert await served_serial(gateway.port) == 11
        certificate(tmp_path, 12)
        os.utime(chain, (2, 2))
        gateway.tick()
        assert await served_serial(gateway.port) == 12
    await gateway.stop(1)


async def test_sigterm_drains_and_ends(eventually: Any) -> None:
    world = Rehearsal()
    gateway = world.gateway(GatewaySettings(port=0, drain_budget=3_000))
    serving = asyncio.create_task(gateway.serve())
    await eventually(lambda: gateway._doors)
    async with connect(f"ws://127.0.0.1:{gateway.port}/v1/connect", proxy=None) as socket:
        await socket.send(json.dumps({"t": "hello", "token": await world.bind("li", "phone-1")}))
        while json.loads(await socket.recv())["t"] != "caught_up":
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        assert json.loads(await socket.recv())["code"] == "draining"
        await asyncio.wait_for(serving, 5)
    assert gateway.gauges()["connections"] == 0


async def test_what_a_node_counts_reaches_its_metrics(stage: Any, eventually: Any) -> None:
    class Heard:
        def __init__(self) -> None:
            self.connected = -1
            self.events: Counter[str] = Counter()

        def connections(self, count: int) -> None:
            self.connected = count

        def gateway(self, event: str, count: int) -> None:
            self.events[event] += count

    heard = Heard()
    gateway = stage.gateways[0]
    gateway._metrics = heard
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    await stage.world.dispatch("li", "m1")
    await phone.hear_until("msg")
    for _ in range(3):
        stage.move_time(1_000)
    assert heard.connected == 1
    assert (heard.events["online"], heard.events["messages_sent"], heard.events["upgraded"]) == (1, 1, 1)
    await gateway.stop(0.5)
    assert heard.events["lines_closed.1001"] == 1
    assert heard.connected == 0


async def test_a_node_that_is_told_to_go_goes_though_no_store_answers(
    stage: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A bus that swallows its cancellation, acks that are never taken, a lease that is never let go."""
    gateway = stage.gateways[0]
    phone = await stage.phone()
    await phone.hear_until("caught_up")
    never = asyncio.Event()
    swallowed = 0

    async def silent(*_args: Any, **_names: Any) -> None:
        nonlocal swallowed
        while True:
            try:
                await never.wait()
                return
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed > 20:
                    raise

    monkeypatch.setattr("dispatcher.gateway.server._STEP_S", 0.05)
    monkeypatch.setattr(stage.world.books, "acknowledge_many", silent)
    monkeypatch.setattr(stage.world.presences, "release_node", silent)
    await stage.world.dispatch("li", "m1")
    heard = await phone.hear_until("msg")
    gateway._bus.cancel()
    gateway._bus = asyncio.create_task(silent())
    try:
        await phone.say(t="ack", ids=[heard[-1]["delivery_id"]], event="delivered")
        async with asyncio.timeout(3):
            await gateway.stop(0.3)
    finally:
        never.set()
    assert "the stores did not answer while this node left" in caplog.text
