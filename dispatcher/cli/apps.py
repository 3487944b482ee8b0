"""Apps: made, listed, shown, changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any
from zoneinfo import available_timezones

import click

from dispatcher.cli.options import config_option, json_option, show, who
from dispatcher.cli.stores import with_stores
from dispatcher.domain.ids import is_id

app_argument = click.argument("app_id")
UNSET = ("any", "default", "none")


@click.group()
def apps() -> None:
    """Apps: each owns credentials, API keys and strategies."""


@apps.command("create")
@app_argument
@click.option("--name", help="What people call it; the id where left out.")
@click.option("--time-zone", default="UTC", show_default=True, help="For users whose zone nobody knows.")
@config_option
@json_option
def create_app(app_id: str, name: str | None, time_zone: str, config: Path | None, as_json: bool) -> None:
    """Make an app with the default strategy."""
    from dispatcher.ports.directory import App

    if not is_id(app_id):
        raise click.BadParameter("1 to 128 visible ASCII characters", param_hint="APP_ID")
    _check_zone(time_zone)

    async def work(stores: Any) -> None:
        await stores.apps.create_app(App(app_id=app_id, name=name or app_id, time_zone=time_zone), stores.clock())

    try:
        with_stores(config, work)
    except KeyError:
        raise click.ClickException(f"There is an app {app_id!r} already.") from None
    if as_json:
        show({"app_id": app_id, "name": name or app_id, "time_zone": time_zone})
        return
    click.echo(f"App {app_id} was made. Next:")
    click.echo(f"  pushpath keys create {app_id}                     for the IM backend")
    click.echo(f"  pushpath credentials set {app_id} apns|fcm|sms    for each vendor")


@apps.command("list")
@config_option
@json_option
def list_apps(config: Path | None, as_json: bool) -> None:
    """List all apps."""

    async def work(stores: Any) -> list[Any]:
        return list(await stores.apps.apps())

    found = with_stores(config, work)
    if as_json:
        show([{**asdict(app), "etag": app.etag} for app in found])
        return
    for app in found:
        click.echo(f"{app.app_id:<24} {app.name:<32} {app.time_zone}")
    if not found:
        click.echo("No app yet: pushpath apps create ID")


@apps.command("show")
@app_argument
@config_option
def show_app(app_id: str, config: Path | None) -> None:
    """Print an app with its rules and its ETag (JSON)."""
    from dispatcher.api.schemas.apps import app_out

    async def work(stores: Any) -> Any:
        return await stores.apps.app(app_id)

    found = with_stores(config, work)
    if found is None:
        raise _no_app(app_id)
    show(_built(app_out(found)))


@apps.command("set")
@app_argument
@click.option("--name", help="What people call it.")
@click.option("--time-zone", help="For users whose zone nobody knows.")
@click.option("--classes", help="Comma-separated classes the app may dispatch; any: all.")
@click.option("--rate-per-key", help="Requests a second of one API key; default: the setting's.")
@click.option("--rate-per-device", help="Requests a second of one device; default: the setting's.")
@click.option("--default-locale", help="Of templates, where a recipient's language is not known; none: theirs.")
@click.option("--if-match", metavar="ETAG", help="Refuse where the app is not as `show` printed it.")
@config_option
@json_option
def set_app(app_id: str, if_match: str | None, config: Path | None, as_json: bool, **given: str | None) -> None:
    """Change an app. What is left out stays, also what somebody else changes meanwhile. In force within a second."""
    from dispatcher.api.app_changes import change_app
    from dispatcher.api.schemas.apps import app_out
    from dispatcher.domain.etag import Condition, Stale
    from dispatcher.ports.directory import AuditEntry

    values = _values({name: text for name, text in given.items() if text is not None})
    condition = Condition(etags=None if if_match is None else frozenset({if_match.strip('"')}))

    async def work(stores: Any) -> Any:
        app = await stores.apps.app(app_id)
        if app is None:
            return None
        changed = await change_app(stores.apps, app, values, condition)
        entry = AuditEntry(at=stores.clock(), who=who(), action="app.update", subject=app_id, detail=values)
        await stores.audit.record(app_id, entry)
        return changed

    try:
        changed = with_stores(config, work)
    except Stale:
        raise click.ClickException(f"App {app_id!r} was changed since it was read: pushpath apps show it.") from None
    if changed is None:
        raise _no_app(app_id)
    if as_json:
        show(_built(app_out(changed)))
    else:
        click.echo(f"App {app_id} was changed: {', '.join(sorted(values))}.")


def _values(given: dict[str, str]) -> dict[str, Any]:
    """As PUT /v1/apps takes them, judged by the same types."""
    import msgspec

    from dispatcher.api.schemas.apps import AppChange

    values: dict[str, Any] = {}
    for name, text in given.items():
        if name in {"name", "time_zone"}:
            values[name] = text
        elif text in UNSET:
            values[name] = None
        elif name == "classes":
            values[name] = sorted({one.strip() for one in text.split(",") if one.strip()})
        else:
            values[name] = int(text) if name.startswith("rate") and text.isdecimal() else text
    if not values:
        raise click.UsageError("Nothing to change: name an option.")
    if "time_zone" in values:
        _check_zone(values["time_zone"])
    for name, value in values.items():
        try:
            msgspec.convert({name: value}, AppChange)
        except msgspec.ValidationError as fault:
            said = str(fault).partition(" - at")[0]
            raise click.BadParameter(said, param_hint=f"--{name.replace('_', '-')}") from None
    return values


def _check_zone(time_zone: str) -> None:
    if time_zone not in available_timezones():
        raise click.BadParameter(f"{time_zone!r} is no zone such as Asia/Shanghai", param_hint="--time-zone")


def _no_app(app_id: str) -> click.ClickException:
    return click.ClickException(f"There is no app {app_id!r}; see pushpath apps list.")


def _built(value: Any) -> Any:
    import msgspec

    return msgspec.to_builtins(value)
