"""One process each: api, gateway, worker, schedule, console, sandbox; and the migration they all need first."""

import asyncio
import os
from pathlib import Path

import click
import uvloop

from dispatcher.cli.options import config_option, found_config, metrics_of, settings_of
from dispatcher.collector import calm_collector
from dispatcher.logs import set_up_logs, watch_loop
from dispatcher.settings import Settings
from dispatcher.settings_source import SettingsError, configured


@click.command()
@config_option
def api(config: Path | None) -> None:
    """Serve the HTTP API."""
    settings = _begin(config, "api")
    uvloop.run(_api(settings))


@click.command()
@config_option
def gateway(config: Path | None) -> None:
    """Hold long connections and parked long-polls."""
    settings = _begin(config, "gateway")
    uvloop.run(_gateway(settings))


@click.command()
@config_option
@click.option("--queues", help="Only these, comma-separated: plan, longconn, apns, fcm, poll, sms.")
@click.option("--sweep/--no-sweep", default=None, help="Only the sweep and upkeep, or only the drains. Default: both.")
def worker(config: Path | None, queues: str | None, sweep: bool | None) -> None:
    """Plan, send, sweep, archive: a Celery worker."""
    from dispatcher.bootstrap import import_vendors
    from workers.main import paths_queues, queues_for, run_worker

    settings = _begin(config, "worker")
    if queues is not None:
        try:
            names = paths_queues([name.strip() for name in queues.split(",") if name.strip()])
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--queues") from None
        names += queues_for(drains=False, sweep=bool(sweep))
    else:
        names = queues_for(drains=sweep is not True, sweep=sweep is not False)
    if queues is not None or sweep is not True:
        import_vendors()
    run_worker(settings, metrics_of(settings), queues=names, concurrency=settings.worker_concurrency)


@click.command()
@config_option
def schedule(config: Path | None) -> None:
    """Hint at periodic work (Celery beat). Two of them do no harm."""
    from workers.main import run_schedule

    run_schedule(_begin(config, "schedule"))


@click.command()
@config_option
def console(config: Path | None) -> None:
    """Serve the operators' web console, a client of the HTTP API."""
    from dispatcher.console.server import run_console
    from dispatcher.console.settings import console_settings

    values = configured(found_config(config), os.environ)
    try:
        settings = console_settings(values)
    except ValueError as error:
        raise SettingsError([str(error)]) from None
    set_up_logs("console", level=str(values.get("log_level", "info")), style=str(values.get("log_format", "json")))
    run_console(settings)


@click.command()
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), required=True, help="For keys and certificate."
)
@click.option("--control-port", default=8090, show_default=True)
@click.option("--apns-port", default=8091, show_default=True)
@click.option("--fcm-port", default=8092, show_default=True)
@click.option("--sms-port", default=8093, show_default=True)
@click.option("--fcm-tls-port", default=8094, show_default=True)
@click.option("--apns-sandbox-port", default=8095, show_default=True)
def sandbox(
    data: Path,
    control_port: int,
    apns_port: int,
    fcm_port: int,
    sms_port: int,
    fcm_tls_port: int,
    apns_sandbox_port: int,
) -> None:
    """Simulate APNs, FCM and an SMS carrier on 127.0.0.1."""
    from providers.sandbox import Sandbox, SandboxSettings, serve

    set_up_logs("sandbox")

    def started(running: Sandbox) -> None:
        click.echo(
            f"control {running.control_url}  apns {running.apns_url}  fcm {running.fcm_url}  sms {running.sms_url}"
        )

    found = SandboxSettings(
        directory=data,
        control_port=control_port,
        apns_port=apns_port,
        fcm_port=fcm_port,
        sms_port=sms_port,
        fcm_tls_port=fcm_tls_port,
        apns_sandbox_port=apns_sandbox_port,
    )
    uvloop.run(serve(found, started))


@click.command()
@config_option
def migrate(config: Path | None) -> None:
    """Bring the ledger's tables up to date. Safe to run twice or at once."""
    from dispatcher.ledger.migrate import migrate as migrate_ledger

    settings = settings_of(config)
    asyncio.run(migrate_ledger(settings.ledger_url.reveal()))
    click.echo("The ledger is up to date.")


def _begin(config: Path | None, process: str) -> Settings:
    calm_collector()
    settings = settings_of(config)
    set_up_logs(process, level=settings.log_level.value, style=settings.log_format.value)
    return settings


async def _api(settings: Settings) -> None:
    from dispatcher.api.server import serve_api
    from dispatcher.bootstrap import open_stores
    from dispatcher.core import AppCore
    from workers.app import create_celery
    from workers.hints import CeleryHints

    watch_loop(asyncio.get_running_loop())
    hints = CeleryHints(create_celery(settings.celery_broker.reveal()))
    core = AppCore(await open_stores(settings, hint=hints, metrics=metrics_of(settings)))
    try:
        await serve_api(settings, core, started=lambda _: calm_collector())
    finally:
        await core.close()
        hints.close()


async def _gateway(settings: Settings) -> None:
    """Loads what phones need and nothing else: a gateway's weight is to be its connections'."""
    from dispatcher.gateway.drain import within
    from dispatcher.gateway.server import Gateway
    from dispatcher.gateway.settings import GatewaySettings
    from dispatcher.phone_desk import Blocked, PhoneDesk
    from dispatcher.phone_stores import open_phone_stores

    watch_loop(asyncio.get_running_loop())
    metrics = metrics_of(settings)
    stores = open_phone_stores(settings, metrics)
    parts = stores.parts
    desk = PhoneDesk(parts)
    running = Gateway(
        GatewaySettings(
            host=settings.gateway_host,
            port=settings.gateway_port,
            node=settings.node,
            connects_per_address=settings.connections_per_address,
            trusted_peers=settings.trusted_proxies,
            cors_origins=settings.cors_origins,
            tls_certificate=settings.gateway_tls_certificate or None,
            tls_key=settings.gateway_tls_key or None,
        ),
        inboxes=parts.inboxes,
        presences=parts.presences,
        bus=parts.bus,
        profiles=parts.profiles,
        tokens=stores.tokens,
        ids=parts.ids,
        receive=desk,
        pull=desk,
        metrics=metrics,
        rules=Blocked(stores.kept_out),
    )
    try:
        await running.serve()
    finally:
        await within(desk.close(), 2)
        await within(stores.close(), 2)
