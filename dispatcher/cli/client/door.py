"""One question to the API from a terminal: a refusal is a sentence with its fields, never a traceback."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from dispatcher.cli.client.address import find_address, is_local
from dispatcher.client.errors import PushpathError


class Door:
    """An API address and key, as the options of :func:`~dispatcher.cli.client.address.address_options` name them."""

    def __init__(self, data: Path, api_url: str | None, api_key: str | None) -> None:
        self._address = find_address(data, api_url=api_url, api_key=api_key)

    def ask(
        self,
        method: str,
        *path: str,
        body: Any = None,
        query: Mapping[str, str | int | None] | None = None,
        if_match: str | None = None,
        absent: bool = False,
    ) -> Any:
        """The answer's document, None where it has none. *path*: its segments. *if_match*: the ETag that was read.
        *absent*: nothing may stand there yet.

        ClickException for every refusal.
        """
        address = "/" + "/".join(quote(one, safe="") for one in path)
        headers = {} if if_match is None else {"If-Match": '"' + if_match.strip('"') + '"'}
        if absent:
            headers["If-None-Match"] = "*"
        try:
            return asyncio.run(self._ask(method, address, body, query, headers))
        except PushpathError as error:
            fields = "; ".join(f"{each['field']}: {each['message']}" for each in error.errors)
            raise click.ClickException(f"{self._address.api_url}: {error}{f' ({fields})' if fields else ''}") from None

    async def _ask(
        self,
        method: str,
        path: str,
        body: Any,
        query: Mapping[str, str | int | None] | None,
        headers: Mapping[str, str],
    ) -> Any:
        import httpx

        from dispatcher.client.transport import Api

        url, key = self._address.api_url or "", self._address.api_key or ""

        async def authorization() -> str:
            return f"Bearer {key}"

        async with httpx.AsyncClient(timeout=30, trust_env=not is_local(url)) as http:
            api = Api(url, authorization, timeout_s=30, attempts=3, client=http)
            return await api.call(method, path, body=body, query=query, headers=headers)
