import json
import re
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from dispatcher.settings import PREFIX
from dispatcher.settings_table import KNOWN
from dispatcher.telemetry import Metrics, Name

OPS = Path(__file__).parents[3] / "ops"
SERIES = re.compile(r"pushpath_[a-z_]+")
LABELS = re.compile(r"(pushpath_[a-z_]+)\{([^}]*)\}")


def _alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((OPS / "monitoring/alerts.yaml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _expressions() -> list[str]:
    dashboard = json.loads((OPS / "monitoring/dashboard.json").read_text())
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    return [*shown, *(rule["expr"] for rule in _alerts())]


def _series() -> set[str]:
    """Every series name that Prometheus can see of us."""
    found = set()
    for name in Name:
        found |= {name.value, f"{name}_total", f"{name}_bucket", f"{name}_sum", f"{name}_count"}
    return found


@pytest.mark.parametrize("expression", _expressions())
def test_dashboard_and_alerts_ask_for_metrics_that_exist(expression: str) -> None:
    named = set(SERIES.findall(expression))
    assert named
    assert named <= _series()


def test_labels_in_expressions_are_those_of_the_metric() -> None:
    metrics = Metrics()
    metrics.receipts(accepted=1)
    metrics.settled("chat", "expired")
    metrics.http("GET", "/", 500, 0.1)
    metrics.sms_segments("sent", 1)
    metrics.queue_age("apns", "urgent", 1)
    exposed = metrics.render().decode()
    for expression in _expressions():
        for series, labels in LABELS.findall(expression):
            for label in re.findall(r"([a-z_]+)(?:=|!)", labels):
                if f"{series}{{" in exposed:
                    line = next(line for line in exposed.splitlines() if line.startswith(f"{series}{{"))
                    assert f'{label}="' in line, f"{series} has no label {label}"


def test_every_alert_has_its_runbook() -> None:
    text = (OPS / "runbooks/README.md").read_text()
    sections = set(re.findall(r"^## (\S+)$", text, re.MULTILINE))
    assert {rule["alert"].lower() for rule in _alerts()} <= sections


def test_deployments_name_settings_that_exist_and_processes_that_exist() -> None:
    from dispatcher.cli import pushpath

    texts = [file.read_text() for file in (OPS / "deploy").rglob("*") if file.is_file()]
    variables = {name for text in texts for name in re.findall(rf"\b{PREFIX}([A-Z_]+)", text)} - {"CONFIG"}
    assert {name.lower() for name in variables} <= set(KNOWN)
    compose = yaml.safe_load((OPS / "deploy/compose.yaml").read_text())["services"]
    manifests = yaml.safe_load_all((OPS / "deploy/kubernetes/pushpath.yaml").read_text())
    commands = [service["command"] for name, service in compose.items() if name not in {"postgres", "valkey"}]
    commands += [
        container["args"]
        for document in manifests
        if document["kind"] in {"Deployment", "Job"}
        for container in document["spec"]["template"]["spec"]["containers"]
    ]
    for unit in (OPS / "deploy/systemd").glob("*.service"):
        commands.append(unit.read_text().partition("bin/pushpath ")[2].splitlines()[0].split())
    assert len(commands) >= 15
    for command in commands:
        known = pushpath.get_command(click.Context(pushpath), command[0])
        assert known is not None, command
        options = {option for parameter in known.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert set(command[1:]) <= options, command
