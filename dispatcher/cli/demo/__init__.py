"""``pushpath demo``: six messages over every path of a running `pushpath up`, each proven and then checked."""

import asyncio
import sys
from pathlib import Path
from typing import Any

import click

from dispatcher.cli.options import DATA_DIR, json_option, show
from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.upfile import read_up_file


@click.command()
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=DATA_DIR,
    show_default=True,
    help="The data directory of the running `pushpath up`.",
)
@json_option
def demo(data: Path, as_json: bool) -> None:
    """Send six messages over every path and prove each of them; exit 0 only if all were proven.

    Needs a running `pushpath up`. Its people, devices and messages have ids of their own in every run; it publishes a
    strategy `demo` for the class `demo` and leaves yours alone.
    """
    from dispatcher.cli.demo.run import play

    try:
        up = read_up_file(data / "up.json")
    except LaunchError as error:
        raise click.ClickException(str(error)) from None
    outcome: dict[str, Any] = asyncio.run(play(up, silent=as_json))
    if as_json:
        show(outcome)
    sys.exit(0 if outcome["proven"] else 1)
