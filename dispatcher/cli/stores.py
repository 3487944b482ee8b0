"""Commands that work on the stores themselves: no API has to run, only the servers."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from dispatcher.cli.options import settings_of
from dispatcher.settings import Settings

if TYPE_CHECKING:
    from dispatcher.bootstrap import Stores

Result = TypeVar("Result")


def with_stores(config: Path | None, work: "Callable[[Stores], Awaitable[Result]]") -> Result:
    """Runs *work* with stores opened from the settings; a server that is away ends in one clear sentence."""
    from redis.exceptions import RedisError
    from sqlalchemy.exc import DBAPIError, ProgrammingError

    from dispatcher.bootstrap import open_stores
    from dispatcher.ports.messages import LedgerUnavailable

    settings = settings_of(config)

    async def run() -> Result:
        stores = await open_stores(settings)
        try:
            return await work(stores)
        finally:
            await stores.close()

    try:
        return asyncio.run(run())
    except ProgrammingError as error:
        if "UndefinedTable" in str(error.orig):
            raise click.ClickException(f"{_where(settings)} has no tables yet: run `pushpath migrate` first.") from None
        raise
    except RedisError as error:
        where = settings.hot_store_url.masked
        raise click.ClickException(f"The hot store at {where} cannot be reached: {error}. Is it running?") from None
    except (OSError, DBAPIError, LedgerUnavailable) as error:
        cause = error.__cause__ or error
        said = (str(getattr(cause, "orig", None) or cause) or type(cause).__name__).splitlines()[0]
        raise click.ClickException(f"{_where(settings)} cannot be reached: {said}. Is it running?") from None


def _where(settings: Settings) -> str:
    return f"The ledger at {settings.ledger_url.masked}"
