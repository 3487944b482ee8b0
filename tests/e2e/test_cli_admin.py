import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

pytestmark = [pytest.mark.xdist_group("up"), pytest.mark.timeout(180)]


@pytest.fixture
def app(up: Any) -> str:
    app_id = f"app-{uuid4().hex[:8]}"
    assert up.run("apps", "create", app_id).returncode == 0
    return app_id


def test_a_key_made_beside_up_needs_no_settings_and_opens_the_api(up: Any, app: str) -> None:
    made = json.loads(up.run("keys", "create", app, "--scopes", "send,read", "--json").stdout)
    assert made["scopes"] == ["read", "send"]
    line = json.dumps({"message_id": "m1", "to": {"user_ids": ["u"]}, "notification": {"body": "b"}})
    sent = up.run("send", "-", "--api-url", up.document["api_url"], "--api-key", made["api_key"], stdin=line + "\n")
    assert sent.returncode == 0, sent.stderr
    listed = json.loads(up.run("keys", "list", app, "--json").stdout)
    assert [key["key_id"] for key in listed] == [made["key_id"]]
    assert made["api_key"] not in json.dumps(listed)
    assert up.run("keys", "revoke", app, made["key_id"]).returncode == 0
    assert "has no live key" in up.run("keys", "revoke", app, made["key_id"]).stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("keys", "create", "nobody"), "There is no app 'nobody'"),
        (("keys", "create", "demo", "--scopes", "all"), "unknown all; there are send, users"),
        (("apps", "create", "demo"), "There is an app 'demo' already"),
        (("apps", "create", "x", "--time-zone", "Mars"), "no zone"),
        (("credentials", "set", "nobody", "sms", "--field", "a=b"), "cannot work"),
        (("credentials", "check", "nobody"), "There is no app 'nobody'"),
        (("credentials", "remove", "nobody", "sms"), "has no sms credentials"),
        (("apps", "show", "nobody"), "There is no app 'nobody'"),
        (("apps", "set", "nobody", "--name", "x"), "There is no app 'nobody'"),
        (("apps", "set", "demo"), "Nothing to change"),
        (("apps", "set", "demo", "--rate-per-key", "many"), "--rate-per-key"),
        (("apps", "set", "demo", "--rate-per-device", "0"), "--rate-per-device"),
        (("apps", "set", "demo", "--classes", "Chat"), "--classes"),
        (("apps", "set", "demo", "--time-zone", "Mars"), "no zone"),
        (("credentials", "set", "demo", "sms"), "Nothing to store"),
    ],
)
def test_mistakes_are_answered_with_what_is_wrong(up: Any, arguments: tuple[str, ...], said: str) -> None:
    ended = up.run(*arguments)
    assert ended.returncode in {1, 2}
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr


def test_an_app_is_changed_field_by_field_and_only_as_it_was_read(up: Any, app: str) -> None:
    first = json.loads(up.run("apps", "show", app).stdout)
    changed = up.run("apps", "set", app, "--classes", "otp,chat", "--rate-per-key", "50", "--json")
    assert changed.returncode == 0, changed.stderr
    shown = json.loads(up.run("apps", "set", app, "--default-locale", "zh-CN", "--json").stdout)
    assert (shown["classes"], shown["rate_per_key"], shown["default_locale"]) == (["chat", "otp"], 50, "zh-CN")
    lost = up.run("apps", "set", app, "--classes", "any", "--if-match", first["etag"])
    assert (lost.returncode, "was changed since it was read" in lost.stderr) == (1, True)
    won = up.run("apps", "set", app, "--classes", "any", "--if-match", shown["etag"], "--json")
    assert json.loads(won.stdout)["classes"] is None


def test_credentials_of_another_project_need_the_old_ones_removed(up: Any, app: str) -> None:
    account = json.loads((up.data / "sandbox/fcm.json").read_text())
    other = json.dumps(
        {**account, "project_id": "somebody-elses", "client_email": "a@somebody-elses.iam.gserviceaccount.com"}
    )
    assert up.run("credentials", "set", app, "fcm", str(up.data / "sandbox/fcm.json")).returncode == 0
    refused = up.run("credentials", "set", app, "fcm", "-", stdin=other)
    assert refused.returncode == 1
    assert "'somebody-elses' is not that of the stored credentials" in refused.stderr
    assert f"pushpath credentials remove {app} fcm" in refused.stderr
    assert "PRIVATE KEY" not in refused.stderr
    assert up.run("credentials", "remove", app, "fcm").returncode == 0
    assert up.run("credentials", "set", app, "fcm", "-", stdin=other).returncode == 0


def test_credentials_are_checked_stored_and_never_printed(up: Any, app: str, tmp_path: Path) -> None:
    secret = "sEcReT-" + uuid4().hex
    bad = up.run("credentials", "set", app, "sms", "-", stdin=json.dumps({"account_sid": "AC1", "auth_token": secret}))
    assert bad.returncode == 1
    assert "from_number" in bad.stderr
    good = json.dumps({"account_sid": "AC1", "auth_token": secret, "from_number": "+15005550006"})
    stored = up.run("credentials", "set", app, "sms", "-", stdin=good)
    assert stored.returncode == 0, stored.stderr
    key = json.loads((up.data / "sandbox/apns.json").read_text())
    (tmp_path / "key.p8").write_text(key["key_pem"])
    fields = [f"--field={name}={key[name]}" for name in ("topic", "key_id", "team_id")]
    apns = up.run("credentials", "set", app, "apns", *fields, "--field-file", f"key_pem={tmp_path}/key.p8")
    assert apns.returncode == 0, apns.stderr
    fcm = up.run("credentials", "set", app, "fcm", str(up.data / "sandbox/fcm.json"))
    assert fcm.returncode == 0, fcm.stderr
    checked = up.run("credentials", "check", app, "--json")
    assert checked.returncode == 0
    assert {one["path"]: one["well"] for one in json.loads(checked.stdout)} == {"apns": True, "fcm": True, "sms": True}
    said = "".join(each.stdout + each.stderr for each in (bad, stored, apns, fcm, checked))
    assert secret not in said
    assert "PRIVATE KEY" not in said


def test_the_doctor_finds_a_running_up_well(up: Any) -> None:
    ended = up.run("doctor", "--json")
    assert ended.returncode == 0, ended.stdout
    report = json.loads(ended.stdout)
    assert {"ledger", "hot store"} <= {finding["subject"] for finding in report["findings"]}
    secret = json.loads((up.data / "secrets.json").read_text())["secret_key"]
    assert secret not in ended.stdout


def test_without_settings_the_way_out_is_named(up: Any, tmp_path: Path) -> None:
    ended = up.run("apps", "list", cwd=tmp_path)
    assert ended.returncode == 2
    assert "ledger_url is required" in ended.stderr
    assert "--config DIR/pushpath.toml" in ended.stderr
