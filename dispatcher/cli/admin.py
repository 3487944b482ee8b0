"""Keys and the doctor."""

import asyncio
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from dispatcher.cli.options import config_option, json_option, settings_of, show
from dispatcher.cli.stores import with_stores
from dispatcher.domain.clock import rfc3339
from dispatcher.settings_table import describe_settings, shown

SCOPES = ("send", "users", "devices", "read", "strategies", "admin")


@click.group()
def keys() -> None:
    """API keys of an app."""


@keys.command("create")
@click.argument("app_id")
@click.option("--scopes", default="send,users,devices,read", show_default=True, help=f"Of {', '.join(SCOPES)}.")
@click.option("--name", default="command line", show_default=True, help="Who uses it: the audit names it.")
@config_option
@json_option
def create_key(app_id: str, scopes: str, name: str, config: Path | None, as_json: bool) -> None:
    """Make an API key and print it: this once, it is stored hashed.

    Without --config this works on the stores of `pushpath up` in this directory (.data), or those of PUSHPATH_CONFIG.
    """
    wanted = [scope.strip() for scope in scopes.split(",") if scope.strip()]
    unknown = sorted(set(wanted) - set(SCOPES))
    if unknown or not wanted:
        raise click.BadParameter(f"unknown {', '.join(unknown) or 'empty list'}; there are {', '.join(SCOPES)}")

    async def work(stores: Any) -> tuple[Any, str] | None:
        if await stores.apps.app(app_id) is None:
            return None
        made: tuple[Any, str] = await stores.apps.create_key(app_id, name, wanted, stores.clock())
        return made

    made = with_stores(config, work)
    if made is None:
        raise click.ClickException(f"There is no app {app_id!r}; see pushpath apps list.")
    key, secret = made
    if as_json:
        show({"key_id": key.key_id, "app_id": app_id, "scopes": sorted(key.scopes), "api_key": secret})
    else:
        click.echo(secret)


@keys.command("list")
@click.argument("app_id")
@config_option
@json_option
def list_keys(app_id: str, config: Path | None, as_json: bool) -> None:
    """List an app's keys (never their texts)."""

    async def work(stores: Any) -> list[Any]:
        return list(await stores.apps.keys(app_id))

    found = with_stores(config, work)
    if as_json:
        show([{**asdict(key), "scopes": sorted(key.scopes)} for key in found])
        return
    for key in found:
        state = f"revoked {rfc3339(key.revoked_at)}" if key.revoked_at else "live"
        click.echo(f"{key.key_id:<20} {key.name:<24} {','.join(sorted(key.scopes)):<48} {state}")


@keys.command("revoke")
@click.argument("app_id")
@click.argument("key_id")
@config_option
@json_option
def revoke_key(app_id: str, key_id: str, config: Path | None, as_json: bool) -> None:
    """End a key. Processes that know it forget it within seconds."""

    async def work(stores: Any) -> bool:
        return bool(await stores.apps.revoke_key(app_id, key_id, stores.clock()))

    if not with_stores(config, work):
        raise click.ClickException(f"App {app_id!r} has no live key {key_id!r}.")
    if as_json:
        show({"app_id": app_id, "key_id": key_id, "revoked": True})
        return
    click.echo(f"Key {key_id} was revoked.")


@click.command()
@config_option
@json_option
def doctor(config: Path | None, as_json: bool) -> None:
    """Check settings, servers and credentials; say what is wrong and what to do."""
    from dispatcher.doctor import examine

    settings = settings_of(config)
    findings = asyncio.run(examine(settings))
    values = shown(settings)
    if as_json:
        show({"settings": values, "findings": [asdict(finding) for finding in findings]})
    else:
        for info in describe_settings():
            click.echo(f"  {info.name:<28} {values[info.name]!s}")
        click.echo()
        for finding in findings:
            mark = click.style("ok  ", fg="green") if finding.well else click.style("BAD ", fg="red")
            click.echo(f"{mark} {finding.subject}: {finding.text}")
    if not all(finding.well for finding in findings):
        raise SystemExit(1)
