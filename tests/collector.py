"""A collector of our own: takes OTLP/HTTP in this process and keeps every span it was given."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True)
class Told:
    """One span as it came. *parent*: empty where it has none."""

    name: str
    trace_id: str
    span_id: str
    parent: str
    started: int
    ended: int
    kind: int
    failed: bool
    attributes: Mapping[str, Any]


@dataclass
class Collector:
    """What came, and the raw bytes of it. *status*: what to answer."""

    url: str = ""
    status: int = 200
    spans: list[Told] = field(default_factory=list)
    raw: bytes = b""
    services: set[str] = field(default_factory=set)

    def of(self, trace_id: str) -> list[Told]:
        return [span for span in self.spans if span.trace_id == trace_id]

    def wait_for(self, trace_id: str, *names: str, within_s: float = 20.0) -> list[Told]:
        """The trace, once it has spans of all these names."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline:
            found = self.of(trace_id)
            if set(names) <= {span.name for span in found}:
                return found
            time.sleep(0.05)
        raise AssertionError(f"{sorted(set(names) - {span.name for span in self.of(trace_id)})} never came")

    def take(self, body: bytes) -> None:
        self.raw += body
        request = ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.services |= {
                pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
            }
            for scope in resource.scope_spans:
                self.spans += [_told(span) for span in scope.spans]


def _told(span: Any) -> Told:
    values = {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in span.attributes}
    return Told(
        name=span.name,
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        started=span.start_time_unix_nano,
        ended=span.end_time_unix_nano,
        kind=span.kind,
        failed=span.status.code == 2,
        attributes=values,
    )


@contextmanager
def listening(take: Callable[[BaseHTTPRequestHandler, bytes], int]) -> Iterator[str]:
    """A door on 127.0.0.1 until the block ends, and its URL; *take* answers the status of each POST."""

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(take(self, self.rfile.read(int(self.headers["content-length"]))))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Door)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


@contextmanager
def collecting() -> Iterator[Collector]:
    """A collector that listens on 127.0.0.1 until the block ends."""
    collector = Collector()

    def take(request: BaseHTTPRequestHandler, body: bytes) -> int:
        if request.path == "/v1/traces" and request.headers["content-type"] == "application/x-protobuf":
            collector.take(body)
        return collector.status

    with listening(take) as collector.url:
        yield collector
