"""`pushpath webhooks` and `pushpath templates` beside a running `up`, which they find by themselves."""

import json
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(180)]
URL = "https://1.1.1.1/told-by-the-command-line"
TEXTS = """
default_locale: en
texts:
  en: {title: "Order {number}", body: "It left us, {name}.", sms: "Order {number} left us."}
  zh: {title: "订单 {number}"}
"""


def test_a_webhook_is_added_listed_paused_resumed_and_removed(up: Any, tmp_path: Path) -> None:
    secret = "whsec_" + "QUFB" * 8
    (tmp_path / "secret").write_text(secret + "\n")
    added = up.run(
        "webhooks", "add", URL, "--events", "token_dead", "--secret-file", str(tmp_path / "secret"), "--json"
    )
    assert added.returncode == 0, added.stderr
    made = json.loads(added.stdout)
    try:
        assert (made["events"], made["secret"]) == (["token_dead"], secret)
        taken = up.run("webhooks", "add", URL, "--new")
        assert (taken.returncode, "412" in taken.stderr) == (1, True)
        listed = up.run("webhooks", "list")
        assert f"{made['webhook_id']} active" in " ".join(listed.stdout.split())
        assert secret not in listed.stdout
        assert "paused" in up.run("webhooks", "pause", made["webhook_id"]).stdout
        assert json.loads(up.run("webhooks", "resume", made["webhook_id"], "--json").stdout)["state"] == "active"
        assert "0 events go out again" in up.run("webhooks", "replay", made["webhook_id"]).stdout
    finally:
        removed = up.run("webhooks", "remove", made["webhook_id"])
    assert removed.returncode == 0
    assert "was removed" in removed.stdout


def test_a_template_is_tried_put_shown_and_removed(up: Any, tmp_path: Path) -> None:
    file = tmp_path / "order.yaml"
    file.write_text(TEXTS, encoding="utf-8")
    tried = up.run("templates", "preview", str(file), "--locale", "zh-TW", "--param", "number=7", "--param", "name=Li")
    assert tried.returncode == 0, tried.stderr
    assert "订单 7" in tried.stdout
    put = up.run("templates", "put", "cli-order", str(file))
    assert "asks for name, number" in put.stdout
    try:
        assert "cli-order" in up.run("templates", "list").stdout
        shown = json.loads(up.run("templates", "show", "cli-order").stdout)
        assert shown["texts"]["zh"] == {"title": "订单 {number}"}
        again = up.run("templates", "put", "cli-order", "-", "--json", stdin=json.dumps(shown))
        assert json.loads(again.stdout)["parameters"] == ["name", "number"], "what is shown can be put"
        shown["texts"]["zh"] = {"title": "{number}"}
        assert up.run("templates", "put", "cli-order", "-", stdin=json.dumps(shown)).returncode == 0
        lost = up.run("templates", "put", "cli-order", "-", stdin=json.dumps(shown))
        assert (lost.returncode, "412" in lost.stderr) == (1, True), "the etag is of what stood there before"
        assert up.run("templates", "put", "cli-order", str(file), "--overwrite").returncode == 0
        given = ("--param", "number=7", "--param", "name=Li")
        filled = json.loads(up.run("templates", "preview", "cli-order", *given, "--json").stdout)
        assert filled["sms"] == {"text": "Order 7 left us.", "segments": 1}
    finally:
        removed = up.run("templates", "remove", "cli-order")
    assert "was removed" in removed.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("webhooks", "add", "http://127.0.0.1/"), "private, loopback or link-local"),
        (("webhooks", "add", URL, "--events", "read"), "unknown read; there are handed_over"),
        (("webhooks", "remove", "wh_nobody"), "404"),
        (("webhooks", "replay", "no/where"), "404"),
        (("templates", "show", "nobody"), "404"),
        (("templates", "preview", "nobody", "--param", "x"), "write NAME=VALUE"),
        (("templates", "list", "--api-url", "http://127.0.0.1:9", "--api-key", "k"), "unreachable"),
    ],
)
def test_refusals_are_sentences(up: Any, arguments: tuple[str, ...], said: str) -> None:
    ended = up.run(*arguments)
    assert ended.returncode in {1, 2}
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(("text", "said"), [("[1, 2]", "no object"), ("{no json", "neither JSON"), ("{}", "texts")])
def test_files_that_are_no_template_are_refused(up: Any, text: str, said: str) -> None:
    ended = up.run("templates", "put", "bad", "-", stdin=text)
    assert ended.returncode == 1
    assert said in ended.stderr
