"""What commands share: where settings come from, and how answers are printed."""

import getpass
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatcher.settings import Settings
from dispatcher.settings_source import load_settings
from dispatcher.telemetry import Metrics

DATA_DIR = Path(".data")
SETTINGS_FILE = "pushpath.toml"
Command = TypeVar("Command", bound=Callable[..., Any])

config_option = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Settings file (TOML). PUSHPATH_* variables win over it. Left out: PUSHPATH_CONFIG, else that of `up`.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")


def found_config(config: Path | None) -> Path | None:
    """The settings file to read. Without any named, that of a `pushpath up` in this directory serves."""
    if config is None and "PUSHPATH_CONFIG" not in os.environ and "PUSHPATH_LEDGER_URL" not in os.environ:
        local = DATA_DIR / SETTINGS_FILE
        return local if local.exists() else None
    return config


def settings_of(config: Path | None) -> Settings:
    """Settings of this process. Without any named, those of a `pushpath up` in this directory serve."""
    return load_settings(found_config(config), os.environ)


def metrics_of(settings: Settings) -> Metrics:
    """The process's metrics, shared with the others of this machine where a directory is set."""
    if settings.metrics_dir is None:
        return Metrics()
    directory = Path(settings.metrics_dir)
    directory.mkdir(parents=True, exist_ok=True)
    return Metrics(directory)


def show(value: Mapping[str, Any] | list[Any]) -> None:
    """Prints *value* as JSON."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def who() -> str:
    """For the audit: who sat at the terminal."""
    try:
        return f"cli:{getpass.getuser()}"
    except (OSError, KeyError):  # a container's user without a name
        return "cli"
