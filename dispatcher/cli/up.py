"""``pushpath up``: everything on this machine."""

import asyncio
import importlib.util
import json
import os
import secrets
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dispatcher.cli.options import DATA_DIR, SETTINGS_FILE
from dispatcher.embedded.children import ChildSpec
from dispatcher.embedded.ports import HOST
from dispatcher.embedded.probes import answers_http
from dispatcher.embedded.up import UpContext, UpOptions, UpPlan, run_up
from dispatcher.settings import Settings
from dispatcher.settings_source import configured, load_settings

if TYPE_CHECKING:
    from dispatcher.bootstrap import Stores

APP_ID = "demo"
CONSOLE_LOGIN = "admin"
_PIDS = ("api", "gateway", "worker", "sweeper", "schedule", "console", "sandbox", "hot_store", "ledger")


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA_DIR,
    show_default=True,
    help="Where servers keep their data, keys and logs.",
)
@click.option("--fresh", is_flag=True, help="Empty the data directory first.")
@click.option(
    "--ports",
    type=click.Choice(["fixed", "auto"]),
    default="fixed",
    show_default=True,
    help="auto: replace taken ports by free ones.",
)
@click.option("--demo", is_flag=True, help="Play the demo once everything is up.")
@click.option("--exit", "exit_after_demo", is_flag=True, help="End after the demo: 0 only if every path was proven.")
@click.pass_context
def up(ctx: click.Context, data: Path, fresh: bool, ports: str, demo: bool, exit_after_demo: bool) -> None:
    """Start everything here: PostgreSQL, Valkey, API, gateway, workers, simulators.

    Servers of your own win: set PUSHPATH_LEDGER_URL and PUSHPATH_HOT_STORE_URL. Ctrl-C stops all of it.
    """
    given = configured(None, os.environ)
    options = UpOptions(
        data_dir=data,
        fresh=fresh,
        auto_ports=ports == "auto",
        hot_store_url=given.get("hot_store_url"),
        ledger_url=given.get("ledger_url"),
        exit_after_demo=exit_after_demo,
    )
    threading.Thread(target=_import_ahead, daemon=True).start()
    ctx.exit(run_up(options, lambda context: _compose(context, given, demo=demo or exit_after_demo)))


def _import_ahead() -> None:
    """What `_seed` needs, imported while the servers start: about a second of CPU."""
    from dispatcher.bootstrap import open_stores
    from dispatcher.ledger.migrate import migrate
    from providers.sandbox import ensure_credentials
    from workers.chores import upkeep_turn

    _ = (open_stores, migrate, ensure_credentials, upkeep_turn)


def _compose(context: UpContext, given: Mapping[str, Any], *, demo: bool) -> UpPlan:
    """Migrates, seeds, and names the processes."""
    data = context.data_dir
    pick = context.ports.pick
    ports = {"api": pick(8080), "gateway": pick(8081), "console": pick(8082)}
    ports.update({name: pick(8090 + at) for at, name in enumerate(_SANDBOX_PORTS)})
    kept = _kept(data)
    defaults = {
        "ledger_url": context.servers.ledger_url,
        "hot_store_url": context.servers.hot_store_url,
        "broker_url": context.servers.broker_url,
        "secret_key": kept["secret_key"],
        "public_url": f"http://{HOST}:{ports['api']}",
        "api_port": ports["api"],
        "gateway_port": ports["gateway"],
        "metrics_dir": str(data / "metrics"),
        "console_port": ports["console"],
        "console_sandbox_url": f"http://{HOST}:{ports['control']}",
        "console_dir": str(data / "console"),
    }
    settings = load_settings(None, os.environ, defaults)
    config = _write_config(data, {**defaults, **given})
    _clear(data / "metrics")
    api_key = asyncio.run(_seed(settings, data, ports, kept))
    sandbox = {
        "control_url": f"http://{HOST}:{ports['control']}",
        "apns_url": f"https://{HOST}:{ports['apns']}",
        "fcm_url": f"http://{HOST}:{ports['fcm']}",
        "sms_url": f"http://{HOST}:{ports['sms']}",
    }
    document = {
        "api_url": f"http://{HOST}:{ports['api']}",
        "gateway_url": f"ws://{HOST}:{ports['gateway']}/v1/connect",
        "console_url": f"http://{HOST}:{ports['console']}" if _console_comes_along() else None,
        "sandbox": sandbox,
        "app_id": APP_ID,
        "api_key": api_key,
        "console_login": {"login": CONSOLE_LOGIN, "password": kept["console_password"]},
        "config": str(config),
    }
    return UpPlan(
        children=_children(config, data, ports),
        document=document,
        all_pids=_PIDS,
        demo=_program("demo", "--data", str(data)) if demo else None,
        announce=_announce,
    )


_SANDBOX_PORTS = ("control", "apns", "fcm", "sms", "fcm-tls", "apns-sandbox")


def _program(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-c", "from dispatcher.cli import main; main()", *arguments)


def _children(config: Path, data: Path, ports: Mapping[str, int]) -> list[ChildSpec]:
    env = {"PUSHPATH_CONFIG": str(config), "PROMETHEUS_MULTIPROC_DIR": str(data / "metrics")}
    sandbox_ports = [f"--{name}-port={ports[name]}" for name in _SANDBOX_PORTS]
    celery: dict[str, Any] = {"env": env, "death_signal": 9, "stop_grace": 6.0}
    return [
        ChildSpec(
            name="sandbox",
            argv=_program("sandbox", "--data", str(data / "sandbox"), *sandbox_ports),
            env=env,
            stop_order=3,
            ready=answers_http(ports["control"], "/control/sms/outbox"),
        ),
        ChildSpec(
            name="api", argv=_program("api"), env=env, stop_order=1, stop_grace=5.0, ready=answers_http(ports["api"])
        ),
        ChildSpec(
            name="gateway",
            argv=_program("gateway"),
            env=env,
            stop_order=1,
            stop_grace=5.0,
            ready=answers_http(ports["gateway"]),
        ),
        ChildSpec(name="worker", argv=_program("worker", "--no-sweep"), stop_order=2, **celery),
        ChildSpec(name="sweeper", argv=_program("worker", "--sweep"), stop_order=2, **celery),
        ChildSpec(name="schedule", argv=_program("schedule"), env=env, stop_order=1),
        *_console(env, ports["console"]),
    ]


def _console_comes_along() -> bool:
    """Whether the extra `console` is installed."""
    return importlib.util.find_spec("nicegui") is not None


def _console(env: Mapping[str, str], port: int) -> list[ChildSpec]:
    if not _console_comes_along():
        return []
    ready = answers_http(port, "/healthz")
    return [ChildSpec(name="console", argv=_program("console"), env=env, stop_order=0, ready=ready)]


def _kept(data: Path) -> dict[str, str]:
    """What must stay the same over restarts: the master secret, and the key shown in up.json."""
    path = data / "secrets.json"
    if path.exists():
        kept: dict[str, str] = json.loads(path.read_text())
        return kept
    kept = {"secret_key": secrets.token_urlsafe(48)}
    _write_private(path, json.dumps(kept))
    return kept


def _write_private(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    unfinished.rename(path)


def _write_config(data: Path, values: Mapping[str, Any]) -> Path:
    lines = [f"{name} = {json.dumps(value)}" for name, value in sorted(values.items())]
    path = data / SETTINGS_FILE
    _write_private(path, "# Written by `pushpath up` at every start.\n" + "\n".join(lines) + "\n")
    return path.absolute()


def _clear(directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    for file in directory.glob("*.db"):
        file.unlink()


async def _seed(settings: Settings, data: Path, ports: Mapping[str, int], kept: dict[str, str]) -> str:
    """Migrates, rebuilds what a wiped hot store lost, and makes the app with its key and simulator credentials."""
    from dispatcher.bootstrap import open_stores
    from dispatcher.domain.paths import Path as DeliveryPath
    from dispatcher.ledger.migrate import migrate
    from dispatcher.ports.directory import App
    from providers.sandbox import ensure_credentials
    from providers.sandbox.certificate import ensure_certificate
    from workers.chores import reconcile_turn, upkeep_turn

    await migrate(settings.ledger_url.reveal())
    stores = await open_stores(settings)
    try:
        now = stores.clock()
        if await stores.apps.app(APP_ID) is None:
            await stores.apps.create_app(App(app_id=APP_ID, name="Demo"), now)
        key = kept.get("api_key")
        if key is None or await stores.apps.key_by_secret(key) is None:
            scopes = ["send", "users", "devices", "read", "strategies", "admin"]
            _, key = await stores.apps.create_key(APP_ID, "pushpath up", scopes, now)
            kept["api_key"] = key
            _write_private(data / "secrets.json", json.dumps(kept))
        await _console_login(stores, data, kept)
        found = ensure_credentials(data / "sandbox", f"http://{HOST}:{ports['fcm']}/token")
        ca_file = str(ensure_certificate(data / "sandbox", HOST).authority.absolute())
        documents: dict[DeliveryPath, dict[str, Any]] = {
            DeliveryPath.APNS: {
                "topic": found.apns.topic,
                "key_id": found.apns.key_id,
                "team_id": found.apns.team_id,
                "key_pem": found.apns.key_pem,
                "endpoint": f"https://{HOST}:{ports['apns']}",
                "sandbox_endpoint": f"https://{HOST}:{ports['apns']}",
                "ca_file": ca_file,
            },
            DeliveryPath.FCM: {"service_account": found.fcm, "endpoint": f"http://{HOST}:{ports['fcm']}"},
            DeliveryPath.SMS: {
                "account_sid": found.sms.account_sid,
                "auth_token": found.sms.auth_token,
                "from_number": found.sms.from_number,
                "endpoint": f"http://{HOST}:{ports['sms']}",
            },
        }
        for path, credentials in documents.items():
            standing = await stores.apps.credentials(APP_ID, path)
            if standing is None or _is_the_same_account(stores.sealer.open(standing), credentials):
                sealed = stores.sealer.seal(json.dumps(credentials).encode())
                await stores.apps.set_credentials(APP_ID, path, sealed, now)
        await upkeep_turn(stores)
        await reconcile_turn(stores)
        return key
    finally:
        await stores.close()


def _is_the_same_account(standing: bytes, simulators: Mapping[str, Any]) -> bool:
    """Whether stored credentials are the simulator's, whose address may be new; an operator's own stay."""

    def secret(document: Mapping[str, Any]) -> Any:
        account = document.get("service_account") or {}
        account = json.loads(account) if isinstance(account, str) else account
        return document.get("key_pem") or document.get("auth_token") or account.get("private_key")

    return bool(secret(json.loads(standing)) == secret(simulators))


async def _console_login(stores: "Stores", data: Path, kept: dict[str, str]) -> None:
    """An admin for the console, with a password of this data directory's own."""
    from dispatcher.passwords import Passwords
    from dispatcher.ports.operations import Role

    if "console_password" in kept and await stores.desk.operators.password_hash(CONSOLE_LOGIN) is not None:
        return
    kept.setdefault("console_password", secrets.token_urlsafe(15))
    _write_private(data / "secrets.json", json.dumps(kept))
    hashed = await Passwords().hash(kept["console_password"])
    await stores.desk.operators.put_operator(CONSOLE_LOGIN, Role.ADMIN, None, hashed, stores.clock())


def _announce(document: Mapping[str, Any]) -> None:
    login = document["console_login"]
    console = f"  console   {document['console_url']}        {login['login']} / {login['password']}\n"
    click.echo(
        "\nPushpath is up.\n"
        f"  API       {document['api_url']}        docs {document['api_url']}/docs\n"
        f"{console if document['console_url'] else ''}"
        f"  gateway   {document['gateway_url']}\n"
        f"  sandbox   {document['sandbox']['control_url']}/control/sms/outbox\n"
        f"  API key   {document['api_key']}\n"
        f"  settings  {document['config']}\n"
        "Ctrl-C stops everything."
    )
