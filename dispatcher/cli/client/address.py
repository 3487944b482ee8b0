"""Where the API is and with which key: options, then the environment, then a running `pushpath up`."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatcher.cli.options import DATA_DIR
from dispatcher.embedded.errors import LaunchError
from dispatcher.embedded.upfile import read_up_file

API_URL, API_KEY, GATEWAY_URL = "PUSHPATH_API_URL", "PUSHPATH_API_KEY", "PUSHPATH_GATEWAY_URL"
Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True, kw_only=True)
class Address:
    """What is known; None where nobody said."""

    api_url: str | None = None
    gateway_url: str | None = None
    api_key: str | None = field(default=None, repr=False)


def address_options(command: Command) -> Command:
    """``--api-url``, ``--api-key`` and ``--data``."""
    for option in (
        click.option(
            "--data",
            type=click.Path(file_okay=False, path_type=Path),
            default=DATA_DIR,
            show_default=True,
            help="Data directory of a running `pushpath up`, asked for what is not named otherwise.",
        ),
        click.option("--api-key", help=f"API key; better: {API_KEY} in the environment, which `ps` does not show."),
        click.option("--api-url", help=f"Where the API is; else {API_URL}, else that of `up`."),
    ):
        command = option(command)
    return command


def find_address(
    data: Path, *, api_url: str | None, api_key: str | None, gateway_url: str | None = None, needs_key: bool = True
) -> Address:
    """All that is known. Raises ClickException where the address, or a key that is needed, is missing."""
    api_url = api_url or os.environ.get(API_URL)
    api_key = api_key or os.environ.get(API_KEY)
    gateway_url = gateway_url or os.environ.get(GATEWAY_URL)
    if api_url is None:
        up = _running(data)
        api_url, gateway_url = up["api_url"], gateway_url or up["gateway_url"]
        api_key = api_key or up["api_key"]
    if api_key is None and needs_key:
        raise click.UsageError(f"No API key for {api_url}: set {API_KEY}, or give --api-key.")
    if not api_url.startswith(("http://", "https://")):
        raise click.BadParameter("write an address such as http://127.0.0.1:8080", param_hint="--api-url")
    return Address(api_url=api_url, gateway_url=gateway_url, api_key=api_key)


def _running(data: Path) -> Mapping[str, Any]:
    try:
        return read_up_file(data / "up.json")
    except LaunchError as error:
        raise click.UsageError(f"Where is the API? {error} Or set {API_URL} and {API_KEY}.") from None


def is_local(url: str) -> bool:
    """Whether a proxy from the environment has no business in between."""
    host = url.partition("://")[2].partition("/")[0].rpartition(":")[0] or url.partition("://")[2].partition("/")[0]
    return host in {"127.0.0.1", "localhost", "[::1]"}
