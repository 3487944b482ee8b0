"""``pushpath credentials``: what Apple, Google and Twilio gave you, sealed into the ledger; never printed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import click

from dispatcher.cli.options import config_option, json_option, show, who
from dispatcher.cli.stores import with_stores
from dispatcher.domain.clock import system_clock
from dispatcher.domain.paths import Path as DeliveryPath

if TYPE_CHECKING:
    from dispatcher.bootstrap import Stores

PATHS = ("apns", "fcm", "sms")


@click.group()
def credentials() -> None:
    """Provider credentials of an app: set and check. They are sealed with the secret_key and never shown."""


@credentials.command("set")
@click.argument("app_id")
@click.argument("path", type=click.Choice(PATHS))
@click.argument("file", type=click.File("r", encoding="utf-8"), required=False)
@click.option("--field", "fields", multiple=True, metavar="NAME=VALUE", help="One field; may be repeated.")
@click.option("--field-file", "files", multiple=True, metavar="NAME=FILE", help="One field from a file, such as a .p8.")
@config_option
@json_option
def set_credentials(
    app_id: str,
    path: str,
    file: TextIO | None,
    fields: tuple[str, ...],
    files: tuple[str, ...],
    config: Path | None,
    as_json: bool,
) -> None:
    """Store credentials from FILE (JSON, `-` for standard input), from fields, or from both. They are checked first.

    \b
    apns: topic, key_id, team_id, key_pem (the text of the .p8 file)
          or topic, certificate_pem, certificate_key_pem
    fcm:  FILE is the Firebase service account as Google gave it
    sms:  account_sid, auth_token, from_number or messaging_service_sid (Twilio)
          or carrier=http, endpoint, token, secret, sender (any carrier behind a small HTTP door)
          or FILE with {"carriers": [...]}, several of those, the preferred one first
    all:  endpoint and ca_file reach another end than the vendor's

    \b
    pushpath credentials set shop apns --field topic=com.example.im --field key_id=ABC123DEFG \\
        --field team_id=DEF123GHIJ --field-file key_pem=AuthKey_ABC123DEFG.p8
    pushpath credentials set shop fcm service-account.json

    Workers take new credentials within ten seconds; pushes under way end with the old ones. Those of another project or
    topic are refused, for the registered tokens belong to the one that is set: remove them first where it is meant.
    """
    from dispatcher.credential_check import read
    from dispatcher.errors import Problem
    from dispatcher.ports.directory import AuditEntry
    from dispatcher.provider_desk import ProviderDesk
    from providers.credentials import BadCredentials

    document = {**_from_file(file), **_from_fields(fields, files)}
    if path == "fcm" and "private_key" in document:
        document = {"service_account": document}
    if not document:
        raise click.UsageError("Nothing to store: name a FILE, or give --field and --field-file.")
    sealed_text = json.dumps(document).encode()
    try:
        known_as = read(DeliveryPath(path), sealed_text, system_clock())
    except BadCredentials as fault:
        raise click.ClickException(f"These {path} credentials cannot work: {fault}") from None

    async def work(stores: "Stores") -> bool:
        if await stores.apps.app(app_id) is None:
            return False
        now = stores.clock()
        view, _ = await ProviderDesk(stores).put_credentials(app_id, DeliveryPath(path), sealed_text, now)
        entry = AuditEntry(at=now, who=who(), action="credentials.set", subject=path, detail=view.about)
        await stores.audit.record(app_id, entry)
        return True

    try:
        known = with_stores(config, work)
    except Problem as refused:
        raise click.ClickException(f"{refused.detail} (pushpath credentials remove {app_id} {path}).") from None
    if not known:
        raise click.ClickException(f"There is no app {app_id!r}; see pushpath apps list.")
    if as_json:
        show({"app_id": app_id, "path": path, "stored": True})
        return
    click.echo(f"Stored for {app_id}: {known_as!r}")


@credentials.command("remove")
@click.argument("app_id")
@click.argument("path", type=click.Choice(PATHS))
@config_option
@json_option
def remove_credentials(app_id: str, path: str, config: Path | None, as_json: bool) -> None:
    """Delete a path's credentials. Nothing more goes out on it within ten seconds."""
    from dispatcher.ports.directory import AuditEntry
    from dispatcher.provider_desk import ProviderDesk

    async def work(stores: "Stores") -> bool:
        if not await ProviderDesk(stores).drop_credentials(app_id, DeliveryPath(path)):
            return False
        entry = AuditEntry(at=stores.clock(), who=who(), action="credentials.delete", subject=path, detail={})
        await stores.audit.record(app_id, entry)
        return True

    if not with_stores(config, work):
        raise click.ClickException(f"App {app_id!r} has no {path} credentials.")
    if as_json:
        show({"app_id": app_id, "path": path, "removed": True})
        return
    click.echo(f"The {path} credentials of {app_id} were deleted.")


@credentials.command("check")
@click.argument("app_id")
@config_option
@json_option
def check_credentials(app_id: str, config: Path | None, as_json: bool) -> None:
    """Say for each path, and each of several SMS carriers, whether the stored credentials can be opened and used.

    Asks no vendor, but counts what it said in the last minutes. GET /v1/providers shows when this was last done and
    what came of it.
    """
    from dispatcher.credential_check import Found
    from dispatcher.doctor import looked_at

    async def work(stores: "Stores") -> list[Found] | None:
        return None if await stores.apps.app(app_id) is None else await looked_at(stores, app_id)

    findings = with_stores(config, work)
    if findings is None:
        raise click.ClickException(f"There is no app {app_id!r}; see pushpath apps list.")
    if as_json:
        show([{"path": one.path, "carrier": one.carrier, "well": one.well, "text": one.text} for one in findings])
    else:
        for one in findings:
            name = f"{one.path} {one.carrier}" if one.carrier else one.path
            click.echo(f"{'ok  ' if one.well else 'BAD '} {name}: {one.text}")
    if not all(one.well for one in findings):
        raise SystemExit(1)


def _from_file(file: TextIO | None) -> dict[str, Any]:
    if file is None:
        return {}
    try:
        document = json.load(file)
    except ValueError:  # its message might quote a secret
        raise click.ClickException(f"{file.name} is no JSON document.") from None
    if not isinstance(document, dict):
        raise click.ClickException(f"{file.name} holds no JSON object.")
    return document


def _from_fields(fields: tuple[str, ...], files: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in fields:
        name, sign, value = text.partition("=")
        if not sign:
            raise click.BadParameter("write NAME=VALUE", param_hint="--field")
        found[name] = value
    for text in files:
        name, sign, path = text.partition("=")
        if not sign:
            raise click.BadParameter("write NAME=FILE", param_hint="--field-file")
        try:
            found[name] = Path(path).read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise click.ClickException(f"{path} cannot be read: {error}") from None
    return found
