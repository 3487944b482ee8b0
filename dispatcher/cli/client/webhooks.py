"""``pushpath webhooks``: who is told what becomes of messages, how they fare, and sending again what was given up."""

from pathlib import Path
from typing import Any

import click

from dispatcher.cli.client.address import address_options
from dispatcher.cli.client.door import Door
from dispatcher.cli.options import json_option, show

EVENTS = ("handed_over", "delivered", "displayed", "opened", "escalated", "settled", "token_dead", "sms_status")
webhook_argument = click.argument("webhook_id")


@click.group()
def webhooks() -> None:
    """Status webhooks of an app: addresses that hear what becomes of messages. The key needs the scope admin."""


@webhooks.command("list")
@address_options
@json_option
def list_webhooks(api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """List them with their state, what waits, and what was dropped."""
    found: list[dict[str, Any]] = Door(data, api_url, api_key).ask("GET", "v1", "webhooks")["webhooks"]
    if as_json:
        show(found)
        return
    for one in found:
        _line(one)
    if not found:
        click.echo("No webhook yet: pushpath webhooks add URL --events delivered,settled")


@webhooks.command()
@click.argument("url")
@click.option("--events", default="all", show_default=True, help=f"Comma-separated, of {', '.join(EVENTS)}.")
@click.option(
    "--secret-file", type=click.File("r", encoding="utf-8"), help="A secret of yours (whsec_...), - for stdin."
)
@click.option("--new", is_flag=True, help="Refuse where URL is registered already.")
@address_options
@json_option
def add(
    url: str,
    events: str,
    secret_file: Any,
    new: bool,
    api_url: str | None,
    api_key: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Register URL, and print the secret that signs its POSTs: this once.

    A URL that is registered already gets the events, and goes on where it was paused. Private, loopback and link-local
    addresses are refused unless the settings allow them.
    """
    wanted = list(EVENTS) if events == "all" else [one.strip() for one in events.split(",") if one.strip()]
    unknown = sorted(set(wanted) - set(EVENTS))
    if unknown or not wanted:
        said = f"unknown {', '.join(unknown)}" if unknown else "none"
        raise click.BadParameter(f"{said}; there are {', '.join(EVENTS)}", param_hint="--events")
    body: dict[str, Any] = {"url": url, "events": wanted}
    if secret_file is not None:
        body["secret"] = secret_file.read().strip()
    made = Door(data, api_url, api_key).ask("POST", "v1", "webhooks", body=body, absent=new)
    if as_json:
        show(made)
        return
    _line(made)
    if made.get("secret"):
        click.echo(f"secret: {made['secret']}")


@webhooks.command()
@webhook_argument
@address_options
@json_option
def remove(webhook_id: str, api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """Remove one, with all that waits for it."""
    Door(data, api_url, api_key).ask("DELETE", "v1", "webhooks", webhook_id)
    _said({"webhook_id": webhook_id, "removed": True}, f"Webhook {webhook_id} was removed.", as_json)


@webhooks.command()
@webhook_argument
@address_options
@json_option
def pause(webhook_id: str, api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """Stop sending. What waits is kept; what happens from now on is not told."""
    _switched(Door(data, api_url, api_key).ask("POST", "v1", "webhooks", webhook_id, "pause"), as_json)


@webhooks.command()
@webhook_argument
@address_options
@json_option
def resume(webhook_id: str, api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """Go on, with what waits first."""
    _switched(Door(data, api_url, api_key).ask("POST", "v1", "webhooks", webhook_id, "resume"), as_json)


@webhooks.command()
@webhook_argument
@address_options
@json_option
def replay(webhook_id: str, api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """Send now what waits: of one that was given up after a day, or that waits for its next try."""
    sent = Door(data, api_url, api_key).ask("POST", "v1", "webhooks", webhook_id, "replay")
    _said(sent, f"{sent['events']} events go out again.", as_json)


def _line(one: dict[str, Any]) -> None:
    """One webhook on one line, and why it does not fare well on another."""
    waits = f"{one['waiting']} waiting" + (f", {one['dropped']} dropped" if one["dropped"] else "")
    click.echo(f"{one['webhook_id']:<22} {one['state']:<8} {waits:<22} {one['url']}  {','.join(one['events'])}")
    reason = one["paused_reason"] or (one["last_error"] if one["failing_since"] else None)
    if reason:
        click.echo(f"{'':<22} {reason}")


def _switched(one: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(one)
    else:
        _line(one)


def _said(document: dict[str, Any], sentence: str, as_json: bool) -> None:
    if as_json:
        show(document)
    else:
        click.echo(sentence)
