"""``pushpath secret``: the master secret, and how another one takes over without an end to anything."""

import json
import secrets
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dispatcher.cli.options import config_option, json_option, settings_of, show
from dispatcher.cli.stores import with_stores
from dispatcher.domain.clock import rfc3339, system_clock
from dispatcher.domain.requests import parse_duration

if TYPE_CHECKING:
    from dispatcher.bootstrap import Stores
    from workers.resealing import Tally

SECRET_BYTES = 48


@click.group()
def secret() -> None:
    """The master secret: make its follower, seal everything again, see what an earlier one still holds."""


@secret.command("next")
@click.option(
    "--in", "ahead", default="15m", show_default=True, help="When the new one takes over: after the restarts."
)
@config_option
@json_option
def next_secret(ahead: str, config: Path | None, as_json: bool) -> None:
    """Print settings with a new master secret, and the present one as its forerunner. Changes nothing by itself.

    Put them into the settings of every process and restart these one by one before the time that is printed: until
    then all of them go on with the present secret, from then on with the new one. Tokens, ids, sessions and sealed
    values of before stay good. Treat the output like the secret that it is.
    """
    settings = settings_of(config)
    try:
        at = system_clock() + parse_duration(ahead)
    except ValueError as fault:
        raise click.BadParameter(str(fault), param_hint="--in") from None
    fresh, taken_over = secrets.token_urlsafe(SECRET_BYTES), rfc3339(at)
    earlier = [f"{settings.secret_key.reveal()}@{taken_over}", *(key.reveal() for key in settings.previous_secret_keys)]
    if as_json:
        show({"secret_key": fresh, "previous_secret_keys": earlier, "takes_over_at": taken_over})
        return
    click.echo(f"# The new secret takes over at {taken_over}: restart every process before that.")
    click.echo(f"secret_key = {json.dumps(fresh)}")
    click.echo(f"previous_secret_keys = {json.dumps(earlier)}")


@secret.command()
@config_option
@json_option
def reseal(config: Path | None, as_json: bool) -> None:
    """Seal everything again with the master secret in use. Safe to repeat, and to break off and begin again."""
    _go_through(config, as_json, write=True)


@secret.command()
@config_option
@json_option
def check(config: Path | None, as_json: bool) -> None:
    """Say what an earlier master secret still seals, and what none opens. Exit 1 if there is any."""
    tallies = _go_through(config, as_json, write=False)
    if any(tally.earlier or tally.broken for tally in tallies.values()):
        raise SystemExit(1)


def _go_through(config: Path | None, as_json: bool, *, write: bool) -> "dict[str, Tally]":
    from workers.resealing import reseal_all

    def progress(kind: str, read: int) -> None:
        if sys.stderr.isatty():
            click.echo(f"\r{kind}: {read:,} read", err=True, nl=False)

    async def work(stores: "Stores") -> "dict[str, Tally]":
        return await reseal_all(stores, write=write, progress=progress)

    tallies = with_stores(config, work)
    if sys.stderr.isatty():
        click.echo(err=True)
    done = "resealed" if write else "earlier"
    if as_json:
        show(
            {kind: {"read": tally.read, done: tally.earlier, "broken": tally.broken} for kind, tally in tallies.items()}
        )
        return tallies
    for kind, tally in tallies.items():
        said = "sealed again" if write else "under an earlier secret"
        click.echo(f"{kind:<12} {tally.read:>9,} read, {tally.earlier:>9,} {said}, {len(tally.broken)} that none opens")
        for name in tally.broken[:20]:
            click.echo(f"  BAD {name}: set it again, or bring back the secret that sealed it")
    return tallies
