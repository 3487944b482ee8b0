import asyncio
import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from dispatcher.domain.trace import Span, SpanKind, TraceContext, attributes
from dispatcher.phone_stores import open_traces
from dispatcher.settings import Settings
from dispatcher.settings_source import SettingsError, load_settings
from dispatcher.tracing.otlp import CLOSE_S, OtlpTracing, traces_url
from tests.collector import Collector, collecting

ROOT, PARENT = TraceContext(0xA1, 0xB1), TraceContext(0xA1, 0xC1)
NEEDED = {
    "ledger_url": "postgresql+asyncpg://p@localhost/p",
    "hot_store_url": "redis://localhost",
    "secret_key": "s" * 40,
}


def settings(**values: object) -> Settings:
    return load_settings(None, {}, {**NEEDED, **values})


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


def span(context: TraceContext, parent: TraceContext | None, **values: object) -> Span:
    shown = {"name": "send apns", "kind": SpanKind.CLIENT, "started": 1_000_000, "ended": 3_000_000} | values
    return Span(context=context, parent=parent, **shown)  # type: ignore[arg-type]


async def test_spans_reach_a_collector_as_they_were_told(collector: Collector) -> None:
    tracing = OtlpTracing(collector.url)
    tracing.record(span(ROOT, PARENT, attributes=attributes(path="apns", messages=2), error="Unregistered"))
    tracing.record(span(TraceContext(0xA2, 0xB2), None, name="POST /v1/messages", kind=SpanKind.SERVER))
    await tracing.close()
    first, second = collector.spans
    assert (first.trace_id, first.span_id, first.parent) == (f"{0xA1:032x}", f"{0xB1:016x}", f"{0xC1:016x}")
    assert (first.name, first.started, first.ended, first.failed) == ("send apns", 1_000_000, 3_000_000, True)
    assert first.attributes == {"pushpath.path": "apns", "pushpath.messages": 2}
    assert (second.trace_id, second.span_id, second.parent) == (f"{0xA2:032x}", f"{0xB2:016x}", "")
    assert collector.services == {"pushpath"}


async def test_a_collector_that_is_away_costs_its_spans_and_a_moment() -> None:
    tracing = OtlpTracing("http://127.0.0.1:9")
    tracing.record(span(ROOT, None))
    begun = time.monotonic()
    await tracing.close()
    assert time.monotonic() - begun < CLOSE_S + 1


async def test_a_collector_that_hangs_holds_up_no_stop() -> None:
    taken: list[asyncio.StreamWriter] = []

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        taken.append(writer)
        await asyncio.sleep(30)

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    tracing = OtlpTracing(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    tracing.record(span(ROOT, None))
    begun = time.monotonic()
    await tracing.close()
    assert time.monotonic() - begun < CLOSE_S + 1
    for writer in taken:
        writer.close()
    server.close()


@pytest.mark.parametrize(
    ("given", "sent_to"),
    [
        ("http://c:4318", "http://c:4318/v1/traces"),
        ("http://c:4318/", "http://c:4318/v1/traces"),
        ("https://c/otlp/v1/traces", "https://c/otlp/v1/traces"),
    ],
)
def test_a_base_url_is_enough(given: str, sent_to: str) -> None:
    assert traces_url(given) == sent_to


def test_off_by_default_and_then_nothing_is_imported() -> None:
    assert open_traces(settings()) is None
    code = (
        "import sys, dispatcher.core, dispatcher.api.app, workers.tasks\n"
        "ours = ('opentelemetry.sdk.trace', 'opentelemetry.exporter', 'dispatcher.tracing')\n"
        "assert not [name for name in sys.modules if name.startswith(ours)]"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_switched_on_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr("dispatcher.settings_source.find_spec", lacking)
    with pytest.raises(SettingsError, match=r"pip install 'pushpath\[telemetry\]'"):
        settings(otlp_endpoint="http://127.0.0.1:4318")
    assert settings().otlp_endpoint is None
    assert importlib.util.find_spec("opentelemetry.sdk") is not None


@pytest.mark.parametrize("endpoint", ["collector:4318", "http://user:secret@c:4318", "http://c?token=x", "http://"])
def test_an_endpoint_that_would_not_do_or_show_a_token_is_refused(endpoint: str) -> None:
    with pytest.raises(SettingsError, match="otlp_endpoint"):
        settings(otlp_endpoint=endpoint)
