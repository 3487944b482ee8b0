"""``pushpath templates``: texts by locale, kept in files, tried before they are stored."""

import json
from pathlib import Path
from typing import Any, TextIO

import click

from dispatcher.cli.client.address import address_options
from dispatcher.cli.client.door import Door
from dispatcher.cli.options import json_option, show

name_argument = click.argument("name")


@click.group()
def templates() -> None:
    """Templates of an app: texts by locale with named parameters. The key needs the scope strategies."""


@templates.command("list")
@address_options
@json_option
def list_templates(api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """List them with their locales and parameters."""
    found: list[dict[str, Any]] = Door(data, api_url, api_key).ask("GET", "v1", "templates")["templates"]
    if as_json:
        show(found)
        return
    for one in found:
        locales = ",".join(f"{name}*" if name == one["default_locale"] else name for name in one["locales"])
        click.echo(f"{one['name']:<24} {locales:<32} {','.join(one['parameters'])}")
    if not found:
        click.echo("No template yet: pushpath templates put NAME FILE")


@templates.command("show")
@name_argument
@address_options
def show_template(name: str, api_url: str | None, api_key: str | None, data: Path) -> None:
    """Print one as `put` takes it (JSON). Its etag lets `put` refuse where somebody changed it meanwhile."""
    found = Door(data, api_url, api_key).ask("GET", "v1", "templates", name)
    texts = {
        locale: {part: text for part, text in own.items() if text is not None} for locale, own in found["texts"].items()
    }
    show({"etag": found["etag"], "default_locale": found["default_locale"], "texts": texts})


@templates.command("put")
@name_argument
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--overwrite", is_flag=True, help="Whatever somebody made of it since FILE was shown.")
@address_options
@json_option
def put_template(
    name: str,
    file: TextIO,
    overwrite: bool,
    api_url: str | None,
    api_key: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """Create or change NAME from FILE (JSON or YAML, - for stdin).

    \b
    default_locale: en
    texts:
      en: {title: "Order {number}", body: "It left us, {name}.", sms: "Order {number} left us."}
      zh: {title: "订单 {number}", body: "{name}，已发货。"}

    What was accepted stays as it was. An etag in FILE, as `show` prints it, makes this fail where it is another by now.
    """
    document, etag = _document(file)
    seen = None if overwrite else etag
    made = Door(data, api_url, api_key).ask("PUT", "v1", "templates", name, body=document, if_match=seen)
    if as_json:
        show(made)
        return
    parameters = ", ".join(made["parameters"]) or "no parameters"
    click.echo(f"Template {made['name']}: {', '.join(made['texts'])}; asks for {parameters}.")


@templates.command()
@name_argument
@address_options
@json_option
def remove(name: str, api_url: str | None, api_key: str | None, data: Path, as_json: bool) -> None:
    """Remove NAME. What was accepted with it goes out all the same."""
    Door(data, api_url, api_key).ask("DELETE", "v1", "templates", name)
    if as_json:
        show({"name": name, "removed": True})
        return
    click.echo(f"Template {name} was removed.")


@templates.command()
@click.argument("name_or_file")
@click.option("--locale", help="As a recipient with this locale would get it; the default one where left out.")
@click.option("--param", "params", multiple=True, metavar="NAME=VALUE", help="One parameter; may be repeated.")
@address_options
@json_option
def preview(
    name_or_file: str,
    locale: str | None,
    params: tuple[str, ...],
    api_url: str | None,
    api_key: str | None,
    data: Path,
    as_json: bool,
) -> None:
    """See a template filled in: a stored one by its name, or a FILE before it is put. Sends and stores nothing."""
    wanted: dict[str, Any] = {"params": _params(params), "locale": locale}
    door = Door(data, api_url, api_key)
    if Path(name_or_file).is_file():
        with Path(name_or_file).open(encoding="utf-8") as file:
            wanted = {**_document(file)[0], **wanted}
        shown = door.ask("POST", "v1", "template-preview", body=wanted)
    else:
        shown = door.ask("POST", "v1", "templates", name_or_file, "preview", body=wanted)
    if as_json:
        show(shown)
        return
    click.echo(f"{shown['locale']} ({shown['bytes']} bytes)")
    for part, text in (shown["notification"] or {}).items():
        click.echo(f"  {part}: {text}")
    if shown["sms"] is not None:
        click.echo(f"  sms: {shown['sms']['text']} ({shown['sms']['segments']} segments)")


def _document(file: TextIO) -> tuple[dict[str, Any], str | None]:
    """JSON, which YAML contains, and the etag it came with; ClickException where it is neither or no object."""
    import yaml

    text = file.read()
    try:
        document = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (ValueError, yaml.YAMLError) as fault:
        where = str(fault).splitlines()[0]
        raise click.ClickException(f"{file.name} is neither JSON nor YAML: {where}") from None
    if not isinstance(document, dict):
        raise click.ClickException(f"{file.name} holds no object with texts by locale")
    etag = document.pop("etag", None)
    return document, None if etag is None else str(etag)


def _params(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        name, sign, value = text.partition("=")
        if not sign:
            raise click.BadParameter("write NAME=VALUE", param_hint="--param")
        found[name] = value
    return found
