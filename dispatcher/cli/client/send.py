"""``pushpath send``: messages from a file, in batches."""

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, TextIO

import click

from dispatcher.cli.client.address import Address, address_options, find_address, is_local
from dispatcher.cli.options import json_option, show
from dispatcher.client import PushpathError, Sender

MAX_BATCH_BYTES = 7 * 1024 * 1024  #: the API takes 8 MiB
Line = tuple[int, dict[str, Any]]


@click.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--batch", type=click.IntRange(1, 1_000), default=500, show_default=True, help="Messages a request.")
@address_options
@json_option
def send(file: TextIO, batch: int, api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """Dispatch messages from FILE, or from standard input with `-`: one JSON object a line, as in POST /v1/messages.

    Safe to repeat: a message's `message_id` makes it the same message, and what was accepted before counts as a
    duplicate. Exit code 0: all were accepted; 1: some were refused (each with its line); 2: nothing could be sent.
    """
    address = find_address(data, api_url=api_url, api_key=api_key)
    lines, faults = _read(file)
    counts = {"accepted": 0, "duplicates": 0, "dry_runs": 0}
    try:
        faults += asyncio.run(_send(address, lines, batch, counts))
    except PushpathError as error:
        done = f"{sum(counts.values())} of {len(lines)} were sent before"
        click.echo(
            f"{address.api_url} refused or could not be reached: {error} ({done}; sending again is safe)", err=True
        )
        sys.exit(2)
    faults.sort(key=lambda fault: fault["line"])
    if as_json:
        show({**counts, "refused": len(faults), "errors": faults})
    else:
        for fault in faults:
            click.echo(f"line {fault['line']}: {fault['error']}", err=True)
        said = [f"{count} {name.replace('_', ' ')}" for name, count in counts.items() if count or name == "accepted"]
        click.echo(", ".join([*said, f"{len(faults)} refused"]))
    sys.exit(1 if faults else 0)


def _read(file: TextIO) -> tuple[list[Line], list[dict[str, Any]]]:
    """Messages with their line numbers, and the lines that are none."""
    lines: list[Line] = []
    faults: list[dict[str, Any]] = []
    try:
        for number, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                message = json.loads(text)
            except ValueError as error:
                faults.append({"line": number, "message_id": None, "error": f"no JSON: {error}"})
                continue
            if isinstance(message, dict):
                lines.append((number, message))
            else:
                faults.append({"line": number, "message_id": None, "error": "no JSON object"})
    except UnicodeDecodeError as error:
        raise click.ClickException(f"{file.name} is no UTF-8 text: {error}") from None
    return lines, faults


async def _send(address: Address, lines: Sequence[Line], batch: int, counts: dict[str, int]) -> list[dict[str, Any]]:
    import httpx

    faults: list[dict[str, Any]] = []
    url, key = address.api_url or "", address.api_key or ""
    async with (
        httpx.AsyncClient(timeout=60, trust_env=not is_local(url)) as http,
        Sender(url, key, client=http) as sender,
    ):
        hidden = not sys.stderr.isatty()
        bar = click.progressbar(length=len(lines), label="Sending", file=sys.stderr) if not hidden else nullcontext()
        with bar as progress:
            for part in _batches(lines, batch):
                results = await sender.dispatch_many([message for _, message in part])
                for (number, _), result in zip(part, results, strict=True):
                    fault = _count(result, counts)
                    if fault is not None:
                        faults.append({"line": number, "message_id": result.get("message_id"), "error": fault})
                if progress is not None:
                    progress.update(len(part))
    return faults


def _batches(lines: Sequence[Line], most: int) -> Iterator[list[Line]]:
    part: list[Line] = []
    size = 0
    for line in lines:
        length = len(json.dumps(line[1], ensure_ascii=False).encode())
        if part and (len(part) >= most or size + length > MAX_BATCH_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part


def _count(result: Mapping[str, Any], counts: dict[str, int]) -> str | None:
    """Counts one answer; what is wrong with a refused message."""
    error = result.get("error")
    if error is not None:
        fields = "; ".join(f"{each['field']}: {each['message']}" for each in error.get("errors") or ())
        return f"{result['status']} {error.get('code', '')}: {fields or error.get('detail', '')}"
    if isinstance(result.get("recipients"), list):
        counts["dry_runs"] += 1
    elif result.get("duplicate"):
        counts["duplicates"] += 1
    else:
        counts["accepted"] += 1
    return None
