"""Operators: who may sign in to the console and the API."""

import secrets
import sys
from pathlib import Path
from typing import Any

import click

from dispatcher.cli.options import config_option, json_option, show
from dispatcher.cli.stores import with_stores
from dispatcher.domain.clock import rfc3339

ROLES = ("viewer", "editor", "admin")


@click.group()
def operators() -> None:
    """People who sign in: viewers look, editors change strategies, admins change everything."""


@operators.command("create")
@click.argument("login")
@click.option("--role", type=click.Choice(ROLES), default="viewer", show_default=True)
@click.option("--apps", help="Comma-separated app ids they may see; all where left out.")
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input.")
@config_option
@json_option
def create(login: str, role: str, apps: str | None, password_stdin: bool, config: Path | None, as_json: bool) -> None:
    """Make an operator, or change one. Without --password-stdin asks for the password, or makes one up."""
    import re

    from dispatcher.passwords import LONGEST, SHORTEST, Passwords
    from dispatcher.ports.operations import Role

    if re.fullmatch(r"[A-Za-z0-9._@+-]{1,64}", login) is None:
        raise click.BadParameter("1 to 64 letters, digits, or . _ @ + -", param_hint="LOGIN")
    made_up = False
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    elif sys.stdin.isatty() and not as_json:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password, made_up = secrets.token_urlsafe(15), True
    if not SHORTEST <= len(password) <= LONGEST:
        raise click.ClickException(f"A password has {SHORTEST} to {LONGEST} characters.")
    wanted = None if apps is None else [app.strip() for app in apps.split(",") if app.strip()]

    async def work(stores: Any) -> tuple[bool, list[str]]:
        known = {app.app_id for app in await stores.apps.apps()}
        unknown = sorted(set(wanted or ()) - known)
        if unknown:
            return False, unknown
        hashed = await Passwords().hash(password)
        return await stores.desk.operators.put_operator(login, Role(role), wanted, hashed, stores.clock()), []

    new, unknown = with_stores(config, work)
    if unknown:
        raise click.ClickException(f"There is no app {unknown[0]!r}; see pushpath apps list.")
    if as_json:
        shown = {"login": login, "role": role, "apps": wanted, "new": new}
        show({**shown, **({"password": password} if made_up else {})})
        return
    click.echo(f"Operator {login} ({role}) was {'made' if new else 'changed'}.")
    if made_up:
        click.echo(f"Password, shown this once: {password}")


@operators.command("list")
@config_option
@json_option
def list_operators(config: Path | None, as_json: bool) -> None:
    """List operators with their roles and apps."""

    async def work(stores: Any) -> list[Any]:
        return list(await stores.desk.operators.operators())

    found = with_stores(config, work)
    if as_json:
        show(
            [
                {
                    "login": one.login,
                    "role": one.role.value,
                    "apps": None if one.apps is None else list(one.apps),
                    "created_at": rfc3339(one.created_at),
                    "disabled_at": rfc3339(one.disabled_at) if one.disabled_at is not None else None,
                }
                for one in found
            ]
        )
        return
    for one in found:
        state = f"disabled {rfc3339(one.disabled_at)}" if one.disabled_at is not None else "live"
        apps = "all apps" if one.apps is None else ",".join(one.apps)
        click.echo(f"{one.login:<24} {one.role.value:<8} {apps:<32} {state}")
    if not found:
        click.echo("No operator yet: pushpath operators create LOGIN --role admin")


@operators.command("disable")
@click.argument("login")
@config_option
def disable(login: str, config: Path | None) -> None:
    """End an account and its sessions."""

    async def work(stores: Any) -> bool:
        return bool(await stores.desk.operators.disable_operator(login, stores.clock()))

    if not with_stores(config, work):
        raise click.ClickException(f"There is no live operator {login!r}.")
    click.echo(f"Operator {login} was disabled.")
