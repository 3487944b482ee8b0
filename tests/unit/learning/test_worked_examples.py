"""What operators start from is true: the documents are valid and do what they say, the page lists every fact."""

from pathlib import Path
from typing import Any

import pytest

from strategies.catalogue import render_markdown
from strategies.compile import compile_strategy
from strategies.document import parse_document
from strategies.engine import plan
from strategies.facts import row_from
from strategies.ownership import owned_classes
from strategies.validate import validate

OPS = Path(__file__).parents[3] / "ops"
EXAMPLES = sorted((OPS / "examples").glob("*.yaml"))


def documents() -> dict[str, str]:
    return {example.stem: example.read_text() for example in EXAMPLES}


def test_the_page_of_facts_is_the_catalogue() -> None:
    page = (OPS / "docs" / "facts.md").read_text()
    assert page.partition("\n\n")[2] == render_markdown()


def test_all_can_be_published_beside_each_other() -> None:
    parsed = [parse_document(text) for text in documents().values()]
    assert len(parsed) == 3
    for text in documents().values():
        others = owned_classes(one for one in parsed if one.name != parse_document(text).name)
        assert validate(text, owned_classes=others) == []


@pytest.mark.parametrize(
    ("name", "facts", "rule", "first"),
    [
        ("chat", {"device.presence": "online", "device.foreground": True}, "on the screen", ("longconn",)),
        ("chat", {"device.ack_rate.longconn": 0.2}, "frozen connections", ("longconn", "fcm")),
        ("chat", {"device.ack_rate.longconn": 0.9}, "everyone", ("longconn",)),
        ("otp", {"device.platform": "none"}, "no app", ("sms",)),
        ("otp", {"device.ack_rate.push": 0.9, "device.p95_s.push": 3.0}, "prompt pushes", ("longconn", "fcm")),
        ("otp", {"device.ack_rate.push": 0.9, "device.p95_s.push": 30.0}, "everyone", ("longconn", "fcm")),
        ("alert", {"message.class": "alarm"}, "alarm", ("longconn", "fcm")),
        ("alert", {"message.class": "alert"}, "everyone", ("longconn",)),
    ],
)
def test_each_decides_as_it_says(name: str, facts: dict[str, Any], rule: str, first: tuple[str, ...]) -> None:
    document = parse_document(documents()[name])
    base = {
        "message.class": (document.classes or ("chat",))[0],
        "device.platform": "android",
        "device.token.fcm": True,
        "device.alerts_enabled": True,
        "device.presence": "offline",
        "device.foreground": False,
        "device.last_seen_s": 60.0,
    }
    made = plan(row_from(base | facts), compile_strategy(document, document.name, 1))
    assert (made.rule, made.steps[0].paths) == (rule, first)
