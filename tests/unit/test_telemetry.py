"""Metrics and logs."""

import io
import json
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from dispatcher.domain.paths import Path as DeliveryPath
from dispatcher.logs import JsonLines, TextLines, mask
from dispatcher.ports.telemetry import Telemetry
from dispatcher.telemetry import MAX_CLASSES, CircuitState, Metrics, Name, forget_process


def counted(metrics: Metrics) -> str:
    return metrics.render().decode()


def test_metrics_are_the_telemetry_port_and_cover_the_three_groups() -> None:
    metrics = Metrics()
    port: Telemetry = metrics
    port.attempted(DeliveryPath.APNS, "handed_over", "", 3)
    port.provider_answered(DeliveryPath.APNS, 0.02)
    metrics.circuit(DeliveryPath.APNS, "apns", CircuitState.OPEN)
    port.stage("plan", 0.01, 500)
    port.queue_age("apns", "urgent", 0.4)
    port.taken_late("sweep", -0.1)
    port.gathered("accept", 12)
    port.late_send(DeliveryPath.SMS)
    port.accepted("chat", 2)
    port.settled("chat", "confirmed", 1)
    port.confirmed("chat", DeliveryPath.POLL, 1)
    port.proof_took(DeliveryPath.POLL, 1.5)
    port.sms_segments("sent", 2)
    port.receipts(accepted=1, duplicate=2)
    metrics.border_failed("throttle", "open")
    metrics.connections(7)
    metrics.token_died(DeliveryPath.FCM)
    metrics.lost_claim("apns")
    metrics.http("GET", "/healthz", 200, 0.001)
    text = counted(metrics)
    for line in (
        'pushpath_provider_attempts_total{outcome="handed_over",path="apns",reason=""} 3.0',
        'pushpath_provider_circuit_state{name="apns",path="apns"} 2.0',
        'pushpath_pipeline_stage_members_total{stage="plan"} 500.0',
        'pushpath_pipeline_late_sends_total{path="sms"} 1.0',
        'pushpath_accepted_total{class="chat"} 2.0',
        'pushpath_settled_total{class="chat",end="confirmed"} 1.0',
        'pushpath_confirmed_total{class="chat",path="poll"} 1.0',
        'pushpath_sms_segments_total{state="sent"} 2.0',
        'pushpath_receipts_total{result="duplicate"} 2.0',
    ):
        assert line in text
    for name in Name:
        assert f"# TYPE {name}" in text, name


def test_late_sends_are_shown_as_zero_before_there_is_any() -> None:
    assert 'pushpath_pipeline_late_sends_total{path="apns"} 0.0' in counted(Metrics())


def test_classes_beyond_the_limit_are_called_other() -> None:
    metrics = Metrics()
    for number in range(MAX_CLASSES + 5):
        metrics.accepted(f"class_{number}")
    metrics.accepted("class_0")
    assert 'pushpath_accepted_total{class="other"} 5.0' in counted(metrics)
    assert 'pushpath_accepted_total{class="class_0"} 2.0' in counted(metrics)


_CHILD = """
import sys
from pathlib import Path
from dispatcher.telemetry import Metrics
metrics = Metrics(Path(sys.argv[1]))
metrics.accepted("chat", int(sys.argv[2]))
metrics.connections(int(sys.argv[2]))
import os
print(os.getpid(), metrics.render().decode())
"""


def test_one_process_shows_what_all_of_the_machine_counted(tmp_path: Path) -> None:
    def run(count: int) -> tuple[int, str]:
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, str(tmp_path / "m"), str(count)], capture_output=True, text=True, check=True
        )
        pid, _, text = done.stdout.partition(" ")
        return int(pid), text

    first, _ = run(3)
    forget_process(tmp_path / "m", first)
    _, text = run(4)
    assert 'pushpath_accepted_total{class="chat"} 7.0' in text
    assert "pushpath_gateway_connections 4.0" in text


def record(message: str, *args: object, **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "pushpath.x", "levelname": "INFO", "msg": message, "args": args})
    vars(made).update(fields)
    return made


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer pp_k1_s3cr3t", "Authorization: Bearer ***"),
        ("to +8613800138000 failed", "to +*** failed"),
        ("url postgresql://app:hunter2@db/x", "url postgresql://app:***@db/x"),
        ("token " + "ab" * 32, "token ***"),
        ("jwt eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJsaSJ9.c2ln here", "jwt *** here"),
        ("GET /x?token=abc&limit=1", "GET /x?token=***&limit=1"),
        ("fcm cX9kLm2pQrS:APA91b" + "x" * 130, "fcm ***"),
        ("delivery 0123456789abcdef0123456789ab-0.1.2a took 1000000000 ms", None),
    ],
)
def test_secrets_in_a_sentence_are_masked_and_ids_are_not(text: str, shown: str | None) -> None:
    assert mask(text) == (shown or text)


def test_a_json_line_has_the_sentence_and_masked_fields() -> None:
    line = JsonLines("api").format(
        record("sent %s", "+8613800138000", path="sms", phone="+1", count=3, detail={"token": "t", "ids": ["a"]})
    )
    read = json.loads(line)
    assert (read["event"], read["process"], read["level"]) == ("sent +***", "api", "info")
    assert (read["path"], read["phone"], read["count"]) == ("sms", "***", 3)
    assert read["detail"] == {"token": "***", "ids": ["a"]}


def test_a_traceback_is_masked_too() -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(TextLines("worker"))
    log = logging.Logger("test")
    log.addHandler(handler)
    try:
        raise ValueError("Bearer abc.def")
    except ValueError:
        log.exception("it failed", extra={"path": "apns"})
    assert "it failed path=apns" in out.getvalue()
    assert "abc.def" not in out.getvalue()
    assert "ValueError: Bearer ***" in out.getvalue()


def test_an_error_that_nobody_caught_is_a_json_line_without_secrets() -> None:
    code = (
        "from dispatcher.logs import set_up_logs\nset_up_logs('api')\nimport threading\n"
        "t = threading.Thread(target=lambda: 1 / 0)\nt.start()\nt.join()\nraise RuntimeError('key=hunter2')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [line["level"] for line in lines] == ["critical", "critical"]
    assert "ZeroDivisionError" in lines[0]["error"]
    assert "hunter2" not in done.stderr
    assert done.returncode == 1
