"""The command line: one group, one file a subject."""

import sys

import click

from dispatcher.cli.admin import doctor, keys
from dispatcher.cli.apps import apps
from dispatcher.cli.bench import bench
from dispatcher.cli.client import device, send, templates, webhooks
from dispatcher.cli.credentials import credentials
from dispatcher.cli.demo import demo
from dispatcher.cli.operators import operators
from dispatcher.cli.processes import api, console, gateway, migrate, sandbox, schedule, worker
from dispatcher.cli.secret import secret
from dispatcher.cli.strategies import strategies
from dispatcher.cli.up import up
from dispatcher.settings_source import SettingsError


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pushpath", prog_name="pushpath")
def pushpath() -> None:
    """Pushpath gets one message to one person's phone by whichever path works, and proves it with a receipt.

    Start with `pushpath up --demo`: everything on this machine, with simulators of APNs, FCM and an SMS carrier.
    """


_COMMANDS = (up, demo, send, device, api, gateway, worker, schedule, sandbox, migrate, apps, keys, credentials, doctor)
for command in (*_COMMANDS, console, operators, secret, strategies, templates, webhooks, bench):
    pushpath.add_command(command)


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
