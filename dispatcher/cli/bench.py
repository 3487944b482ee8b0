"""``pushpath bench``: the figures of the README, measured here and now."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import Any

import click

#: Part, the module whose ``run(quick)`` measures it, and what it needs.
PARTS = {
    "strategies": ("strategies.bench", "the rule engine: seconds, no servers"),
    "pipeline": ("dispatcher.bench.pipeline", "accept to archive: embedded servers, about a minute"),
    "gateway": ("dispatcher.bench.gateway", "long connections: real sockets on loopback, about two minutes"),
    "looking": ("dispatcher.bench.looking", "figures, listings, inboxes over a million deliveries: some minutes"),
    "simulation": ("dispatcher.bench.simulation", "a draft against a million recorded deliveries: some minutes"),
    "schedule": ("dispatcher.bench.schedule", "scheduled messages through a whole up: about three minutes"),
    "providers": ("providers.bench", "APNs and FCM wires beside aioapns and firebase-admin: the simulators"),
    "vendor-faults": ("dispatcher.bench.vendor_faults", "100,000 pushes, a tenth fail, one real worker: minutes"),
}


@click.command()
@click.argument("part", type=click.Choice([*PARTS, "all"]))
@click.option("--quick", is_flag=True, help="A tiny run: shows that it works, its figures mean little.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON for scripts.")
@click.option(
    "--out",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write each result into this directory, dated: ops/bench keeps ours.",
)
@click.option(
    "--reference",
    "programs",
    nargs=2,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="GATEWAY LOAD",
    help="gateway: a reference gateway and its load generator to alternate with (see ops/bench/README.md).",
)
@click.option("--rows", type=click.IntRange(1_000), help="looking, simulation: stored deliveries. Default: 1,000,000.")
def bench(
    part: str, quick: bool, as_json: bool, out: Path | None, programs: tuple[Path, Path] | None, rows: int | None
) -> None:
    """Measure a part of Pushpath: strategies, pipeline, gateway, looking, simulation, schedule, providers, or all.

    CPU microseconds and ratios within one run hold on noisy machines; single wall times do not. Exit code 0 also where
    a target was missed: the answer says so.
    """
    results = []
    for name in PARTS if part == "all" else [part]:
        if not as_json:
            click.echo(f"{name}: {PARTS[name][1]} ...", err=True)
        result = _complete(name, _run_of(name)(quick=quick, **_beside(name, programs, rows)))
        results.append(result)
        if out is not None:
            out.mkdir(parents=True, exist_ok=True)
            day = datetime.now(UTC).strftime("%Y-%m-%d")
            (out / f"{day}-{name}.json").write_text(json.dumps(result, indent=2) + "\n")
        if not as_json:
            _show(result)
    if as_json:
        click.echo(json.dumps(results if part == "all" else results[0], indent=2))


def _beside(name: str, programs: tuple[Path, Path] | None, rows: int | None) -> dict[str, Any]:
    if name in {"looking", "simulation"}:
        return {"rows": rows}
    if programs is None or name != "gateway":
        return {}
    from dispatcher.bench.gateway import Reference

    return {"reference": Reference(gateway=programs[0].resolve(), load=programs[1].resolve())}


def _run_of(name: str) -> Callable[..., dict[str, Any]]:
    run: Callable[..., dict[str, Any]] = import_module(PARTS[name][0]).run
    return run


def _complete(name: str, result: dict[str, Any]) -> dict[str, Any]:
    """Parts that know no machine leave name, time and versions to us."""
    from dispatcher.bench.report import report

    return {**report(name, {}), **result}


def _show(result: dict[str, Any]) -> None:
    click.echo(f"{result['name']}  {result['at']}  {result['machine']}")
    for key, figure in result["figures"].items():
        click.echo(f"  {key:<36} {figure['value']:>14,.2f} {figure['unit']}")
    for key, ratio in result["ratios"].items():
        click.echo(f"  {key:<36} {ratio['value']:>14,.2f} times {ratio['against']}")
    for key, target in result["targets"].items():
        met = click.style("met", fg="green") if target["met"] else click.style("not met", fg="yellow")
        click.echo(f"  {key:<36} {met}: {target['goal']}")
