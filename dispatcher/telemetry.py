"""Metrics in three groups: are the providers there, does the pipeline keep up, does the product do its job.

One :class:`Metrics` a process, made by the composition root. With a directory all processes of a machine write there,
and any of them shows the whole (Prometheus' multi-process mode). Names are listed in :class:`Name`; labels are closed
sets, except class and reason, of which each process tells a fixed number apart and calls the rest ``other``.
"""

import os
from enum import StrEnum
from pathlib import Path as FilePath
from typing import Any, Protocol

from dispatcher.domain.paths import Path

MAX_CLASSES = 40
MAX_REASONS = 200
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_REQUEST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_LATENESS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_PROOF = (0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 900, 3_600, 14_400, 86_400)
_SIZES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000)


class Name(StrEnum):
    """Every metric's name."""

    ATTEMPTS = "pushpath_provider_attempts"
    PROVIDER_SECONDS = "pushpath_provider_request_seconds"
    CIRCUIT = "pushpath_provider_circuit_state"
    TOKENS_DEAD = "pushpath_provider_tokens_dead"
    STAGE_SECONDS = "pushpath_pipeline_stage_seconds"
    STAGE_MEMBERS = "pushpath_pipeline_stage_members"
    QUEUE_AGE = "pushpath_pipeline_queue_age_seconds"
    SWEEP_LATE = "pushpath_pipeline_sweep_lateness_seconds"
    GATHERED = "pushpath_pipeline_gathered"
    LATE_SENDS = "pushpath_pipeline_late_sends"
    LOST_CLAIMS = "pushpath_pipeline_lost_claims"
    FAILED_BORDERS = "pushpath_pipeline_border_failures"
    HTTP_REQUESTS = "pushpath_http_requests"
    HTTP_SECONDS = "pushpath_http_request_seconds"
    CONNECTIONS = "pushpath_gateway_connections"
    GATEWAY_EVENTS = "pushpath_gateway_events"
    ACCEPTED = "pushpath_accepted"
    SETTLED = "pushpath_settled"
    CONFIRMED = "pushpath_confirmed"
    PROOF_SECONDS = "pushpath_time_to_proof_seconds"
    SMS_SEGMENTS = "pushpath_sms_segments"
    RECEIPTS = "pushpath_receipts"


class CircuitState(StrEnum):
    """As numbers in :attr:`Name.CIRCUIT`: 0, 1, 2."""

    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class _Labelled(Protocol):
    def labels(self, *values: str) -> Any: ...


class Metrics:
    """What this process counts: the port :class:`dispatcher.ports.telemetry.Telemetry`, and what doors count."""

    def __init__(self, directory: FilePath | None = None) -> None:
        self._client, self._registry = _open(directory)
        self._directory = directory
        self._children: dict[tuple[str, ...], Any] = {}
        self._classes: set[str] = set()
        self._reasons: set[str] = set()
        counter, histogram, gauge = self._counter, self._histogram, self._gauge
        self._series: dict[Name, _Labelled] = {
            Name.ATTEMPTS: counter(
                Name.ATTEMPTS, "Attempts by what the provider answered", "path", "outcome", "reason"
            ),
            Name.PROVIDER_SECONDS: histogram(Name.PROVIDER_SECONDS, "Provider's answer time", _REQUEST, "path"),
            Name.CIRCUIT: gauge(Name.CIRCUIT, "0 closed, 1 half open, 2 open", "mostrecent", "path", "name"),
            Name.TOKENS_DEAD: counter(Name.TOKENS_DEAD, "Tokens dropped by their provider's verdict", "path"),
            Name.STAGE_SECONDS: histogram(Name.STAGE_SECONDS, "Time of one batch in one stage", _REQUEST, "stage"),
            Name.STAGE_MEMBERS: counter(Name.STAGE_MEMBERS, "Deliveries that passed a stage", "stage"),
            Name.QUEUE_AGE: gauge(Name.QUEUE_AGE, "Age of the oldest due member", "mostrecent", "queue", "lane"),
            Name.SWEEP_LATE: histogram(Name.SWEEP_LATE, "From due to taken", _LATENESS, "queue"),
            Name.GATHERED: histogram(Name.GATHERED, "What travelled together in one flush", _SIZES, "what"),
            Name.LATE_SENDS: counter(Name.LATE_SENDS, "Requests written after proof was applied: a defect", "path"),
            Name.LOST_CLAIMS: counter(Name.LOST_CLAIMS, "Work whose cursor had moved on", "queue"),
            Name.FAILED_BORDERS: counter(
                Name.FAILED_BORDERS, "Times a border's failure policy was used", "border", "policy"
            ),
            Name.HTTP_REQUESTS: counter(Name.HTTP_REQUESTS, "Requests", "method", "route", "status"),
            Name.HTTP_SECONDS: histogram(Name.HTTP_SECONDS, "Request time, long-polls included", _REQUEST, "route"),
            Name.CONNECTIONS: gauge(Name.CONNECTIONS, "Long connections held", "livesum"),
            Name.GATEWAY_EVENTS: counter(Name.GATEWAY_EVENTS, "What happened on gateway nodes", "event"),
            Name.ACCEPTED: counter(Name.ACCEPTED, "Deliveries accepted", "class"),
            Name.SETTLED: counter(Name.SETTLED, "Deliveries settled", "class", "end"),
            Name.CONFIRMED: counter(Name.CONFIRMED, "Deliveries confirmed", "class", "path"),
            Name.PROOF_SECONDS: histogram(Name.PROOF_SECONDS, "From acceptance to proof", _PROOF, "path"),
            Name.SMS_SEGMENTS: counter(Name.SMS_SEGMENTS, "SMS segments", "state"),
            Name.RECEIPTS: counter(Name.RECEIPTS, "Receipts by what became of them", "result"),
        }

        for path in Path:  # what must stay 0 is shown as 0, so that an alarm can tell it from silence
            self._at(Name.LATE_SENDS, path)

    def _counter(self, name: Name, text: str, *labels: str) -> Any:
        return self._client.Counter(name, text, labels, registry=self._registry)

    def _histogram(self, name: Name, text: str, buckets: tuple[float, ...], *labels: str) -> Any:
        return self._client.Histogram(name, text, labels, buckets=buckets, registry=self._registry)

    def _gauge(self, name: Name, text: str, mode: str, *labels: str) -> Any:
        return self._client.Gauge(name, text, labels, multiprocess_mode=mode, registry=self._registry)

    def _at(self, name: Name, *labels: str) -> Any:
        """The child for *labels*, remembered: prometheus' own look-up takes a lock and builds strings."""
        key = (name, *labels)
        child = self._children.get(key)
        if child is None:
            series = self._series[name]
            child = self._children[key] = series.labels(*labels) if labels else series
        return child

    def _bounded(self, known: set[str], label: str, most: int) -> str:
        """*label*, or ``other`` once *most* are told apart: labels come from outside and must not grow for ever."""
        if label in known:
            return label
        if len(known) >= most:
            return "other"
        known.add(label)
        return label

    def _class(self, klass: str) -> str:
        return self._bounded(self._classes, klass, MAX_CLASSES)

    # Providers: are they there?

    def attempted(self, path: Path, outcome: str, reason: str = "", count: int = 1) -> None:
        """*outcome* in the words of the API (``handed_over``, ``token_dead`` ...); *reason* from the vendor table."""
        self._at(Name.ATTEMPTS, path, outcome, self._bounded(self._reasons, reason, MAX_REASONS)).inc(count)

    def provider_answered(self, path: Path, seconds: float) -> None:
        """One request's time on the wire."""
        self._at(Name.PROVIDER_SECONDS, path).observe(seconds)

    def circuit(self, path: Path, name: str, state: CircuitState) -> None:
        """A provider's circuit as it is now."""
        self._at(Name.CIRCUIT, path, name).set(list(CircuitState).index(state))

    def token_died(self, path: Path, count: int = 1) -> None:
        """Tokens dropped."""
        self._at(Name.TOKENS_DEAD, path).inc(count)

    # Pipeline: does it keep up?

    def stage(self, stage: str, seconds: float, members: int) -> None:
        """One batch through one stage (accept, plan, send.apns, receive, sweep, archive)."""
        self._at(Name.STAGE_SECONDS, stage).observe(seconds)
        self._at(Name.STAGE_MEMBERS, stage).inc(members)

    def queue_age(self, queue: str, lane: str, seconds: float) -> None:
        """Age of the oldest due member of a queue; 0 where none waits."""
        self._at(Name.QUEUE_AGE, queue, lane).set(seconds)

    def taken_late(self, queue: str, seconds: float) -> None:
        """How long after its due time something was taken."""
        self._at(Name.SWEEP_LATE, queue).observe(max(0.0, seconds))

    def gathered(self, what: str, size: int) -> None:
        """Requests or members in one flush."""
        self._at(Name.GATHERED, what).observe(size)

    def late_send(self, path: Path, count: int = 1) -> None:
        """A request was written after proof, end, recall or ttl was applied (invariant 4)."""
        self._at(Name.LATE_SENDS, path).inc(count)

    def lost_claim(self, queue: str, count: int = 1) -> None:
        """Work that came too late: its cursor had moved on."""
        self._at(Name.LOST_CLAIMS, queue).inc(count)

    def border_failed(self, border: str, policy: str, count: int = 1) -> None:
        """A border failed and its stated policy (``open``, ``closed``, ``retry``) was used."""
        self._at(Name.FAILED_BORDERS, border, policy).inc(count)

    def http(self, method: str, route: str, status: int, seconds: float) -> None:
        """One request; *route* is its template, never the path."""
        self._at(Name.HTTP_REQUESTS, method, route, str(status)).inc()
        self._at(Name.HTTP_SECONDS, route).observe(seconds)

    def connections(self, count: int) -> None:
        """Long connections this process holds."""
        self._at(Name.CONNECTIONS).set(count)

    def gateway(self, event: str, count: int) -> None:
        """*event*: one of the gateway's own names (dispatcher.gateway.counters)."""
        self._at(Name.GATEWAY_EVENTS, event).inc(count)

    # Business: does it do its job?

    def accepted(self, klass: str, count: int = 1) -> None:
        """Deliveries (not messages) accepted."""
        self._at(Name.ACCEPTED, self._class(klass)).inc(count)

    def settled(self, klass: str, end: str, count: int = 1) -> None:
        """Deliveries that reached *end*."""
        self._at(Name.SETTLED, self._class(klass), end).inc(count)

    def confirmed(self, klass: str, path: Path | None, count: int = 1) -> None:
        """Deliveries whose proof came over *path*."""
        self._at(Name.CONFIRMED, self._class(klass), path or "none").inc(count)

    def proof_took(self, path: Path, seconds: float) -> None:
        """From acceptance to proof."""
        self._at(Name.PROOF_SECONDS, path).observe(max(0.0, seconds))

    def sms_segments(self, state: str, count: int) -> None:
        """*state*: reserved, sent, delivered, failed, released."""
        self._at(Name.SMS_SEGMENTS, state).inc(count)

    def receipts(self, *, accepted: int = 0, unknown: int = 0, duplicate: int = 0) -> None:
        """What became of a list of receipts."""
        for result, count in (("accepted", accepted), ("unknown", unknown), ("duplicate", duplicate)):
            if count:
                self._at(Name.RECEIPTS, result).inc(count)

    def render(self) -> bytes:
        """The text exposition: of all processes sharing the directory, else of this one."""
        registry = self._registry
        if self._directory is not None:
            from prometheus_client import multiprocess

            registry = self._client.CollectorRegistry()
            multiprocess.MultiProcessCollector(registry, path=str(self._directory))  # type: ignore[no-untyped-call]
        text: bytes = self._client.generate_latest(registry)
        return text


def forget_process(directory: FilePath, pid: int) -> None:
    """Drops a dead process's live gauges; its counts stay. For the supervisor, when a child ended."""
    for file in directory.glob(f"gauge_live*_{pid}.db"):
        file.unlink(missing_ok=True)


def _open(directory: FilePath | None) -> tuple[Any, Any]:
    """prometheus_client with storage in *directory*, or in this process alone.

    The library picks its storage once, on import, from the environment; tests and a console in one process need both,
    so the choice is made again for each Metrics.
    """
    if directory is not None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(directory)
    import prometheus_client
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue() if directory is not None else values.MutexValue  # type: ignore[no-untyped-call]
    return prometheus_client, prometheus_client.CollectorRegistry()
