"""Spans to a collector over OTLP/HTTP, through OpenTelemetry's own SDK.

Failure policy: open. A collector that is away, slow or full costs its spans and a line in the log; at most
:data:`WAITING` spans wait, and stopping waits :data:`CLOSE_S` for them.

The SDK reads its own environment besides: ``OTEL_EXPORTER_OTLP_HEADERS`` (a token for the collector),
``OTEL_EXPORTER_OTLP_CERTIFICATE``, ``OTEL_RESOURCE_ATTRIBUTES``, ``OTEL_SERVICE_NAME``.
"""

import asyncio
import os
import threading
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import NonRecordingSpan, SpanContext, Status, StatusCode, TraceFlags, set_span_in_context
from opentelemetry.trace import SpanKind as OtelKind

from dispatcher.domain.trace import Span, SpanKind, TraceContext

WAITING = 16_384
BATCH = 512
DELAY_MS = 1_000
EXPORT_S = 3.0
CLOSE_S = 1.5
_PATH = "/v1/traces"
_KINDS: Mapping[SpanKind, OtelKind] = {
    SpanKind.SERVER: OtelKind.SERVER,
    SpanKind.CLIENT: OtelKind.CLIENT,
    SpanKind.CONSUMER: OtelKind.CONSUMER,
    SpanKind.INTERNAL: OtelKind.INTERNAL,
}


class _GivenIds(IdGenerator):
    """Ids come with the span: they follow from what it tells of."""

    given = TraceContext(1, 1)

    def generate_trace_id(self) -> int:
        return self.given.trace_id

    def generate_span_id(self) -> int:
        return self.given.span_id


class OtlpTracing:
    """:class:`dispatcher.ports.tracing.Tracing`. *endpoint*: a collector's base URL, or that of its ``/v1/traces``.

    One event loop records; the SDK sends from a thread of its own.
    """

    def __init__(self, endpoint: str, *, delay_ms: int = DELAY_MS) -> None:
        self._ids = _GivenIds()
        exporter = OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=EXPORT_S)
        processor = BatchSpanProcessor(
            exporter, max_queue_size=WAITING, schedule_delay_millis=delay_ms, max_export_batch_size=BATCH
        )
        self._provider = TracerProvider(
            sampler=ALWAYS_ON, resource=_resource(), shutdown_on_exit=False, id_generator=self._ids
        )
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("pushpath", _version())

    def record(self, span: Span) -> None:
        """See the port."""
        self._ids.given = span.context
        told = self._tracer.start_span(
            span.name,
            context=_under(span.parent),
            kind=_KINDS[span.kind],
            attributes={name.value: value for name, value in span.attributes.items()},
            start_time=span.started,
        )
        if span.error is not None:
            told.set_status(Status(StatusCode.ERROR, span.error))
        told.end(max(span.ended, span.started))

    async def close(self) -> None:
        """See the port. In a thread that nobody waits for at exit: a collector may hang."""
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def shut_down() -> None:
            self._provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(ended.set)

        threading.Thread(target=shut_down, name="spans-leave", daemon=True).start()
        try:
            await asyncio.wait_for(ended.wait(), CLOSE_S)
        except TimeoutError:
            return


def traces_url(endpoint: str) -> str:
    """Where traces go at a collector (OTLP 1.x, "OTLP/HTTP Request": the base URL and ``v1/traces``)."""
    base = endpoint.rstrip("/")
    return base if base.endswith(_PATH) else base + _PATH


def _under(parent: TraceContext | None) -> Any:
    if parent is None:
        return set_span_in_context(NonRecordingSpan(SpanContext(0, 0, is_remote=False)))
    flags = TraceFlags(TraceFlags.SAMPLED)
    context = SpanContext(parent.trace_id, parent.span_id, is_remote=True, trace_flags=flags)
    return set_span_in_context(NonRecordingSpan(context))


def _resource() -> Resource:
    named = {} if os.environ.get("OTEL_SERVICE_NAME") else {"service.name": "pushpath"}
    return Resource.create({**named, "service.version": _version(), "process.pid": os.getpid()})


def _version() -> str:
    try:
        return version("pushpath")
    except PackageNotFoundError:  # run from a source tree that was never installed
        return "0"
