"""The command line: one group, one file a subject. A command's file is imported when the command is asked for: a
process that serves carries nothing of the others.
"""

import sys
from importlib import import_module

import click

from dispatcher.settings_source import SettingsError

#: Where each command stands, under its own name.
_WHERE = {
    "api": "processes",
    "apps": "apps",
    "bench": "bench",
    "console": "processes",
    "credentials": "credentials",
    "demo": "demo",
    "device": "client",
    "doctor": "admin",
    "gateway": "processes",
    "keys": "admin",
    "migrate": "processes",
    "operators": "operators",
    "sandbox": "processes",
    "schedule": "processes",
    "secret": "secret",
    "send": "client",
    "strategies": "strategies",
    "templates": "client",
    "up": "up",
    "webhooks": "client",
    "worker": "processes",
}


class _ByName(click.Group):
    """Finds its commands by their names."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_WHERE)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _WHERE:
            return None
        found: click.Command = getattr(import_module(f"{__name__}.{_WHERE[cmd_name]}"), cmd_name)
        return found


@click.group(cls=_ByName, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pushpath", prog_name="pushpath")
def pushpath() -> None:
    """Pushpath gets one message to one person's phone by whichever path works, and proves it with a receipt.

    Start with `pushpath up --demo`: everything on this machine, with simulators of APNs, FCM and an SMS carrier.
    """


def main() -> None:
    """The ``pushpath`` program."""
    try:
        pushpath(prog_name="pushpath")
    except SettingsError as error:
        click.echo("The settings cannot be used:", err=True)
        for fault in error.faults:
            click.echo(f"  - {fault}", err=True)
        click.echo(
            "`pushpath up` needs no settings. Beside a running one, call this in its directory or name the file that it"
            " wrote: --config DIR/pushpath.toml. README.md lists every setting.",
            err=True,
        )
        sys.exit(2)
