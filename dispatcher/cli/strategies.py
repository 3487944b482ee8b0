"""Strategies from a terminal: check a document, hold it against traffic, publish it, take it back."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import click

from dispatcher.cli.options import config_option, json_option, show, who
from dispatcher.cli.stores import with_stores
from dispatcher.domain.clock import Millis, system_clock
from dispatcher.domain.requests import parse_duration, parse_time
from dispatcher.errors import Problem

Result = TypeVar("Result")

app_option = click.option("--app", "app_id", help="Whose strategies; may be left out where there is one app only.")
document_argument = click.argument("file", type=click.File("r", encoding="utf-8"))


@click.group()
def strategies() -> None:
    """Strategies: the rules that choose paths. `pushpath strategies facts` lists what they may look at."""


@strategies.command("validate")
@document_argument
@json_option
def validate_file(file: Any, as_json: bool) -> None:
    """Check FILE (YAML or JSON, - for stdin). Needs no server; exit code 1 where something is wrong."""
    from strategies.validate import validate

    problems = validate(file.read())
    if as_json:
        faults = [{"line": one.line, "column": one.column, "message": one.message} for one in problems]
        show({"valid": not problems, "errors": faults})
    else:
        for one in problems:
            click.echo(f"{file.name}:{one.line}:{one.column}: {one.message}")
        click.echo("Not valid." if problems else "Valid.", err=bool(problems))
    if problems:
        sys.exit(1)


@strategies.command("simulate")
@document_argument
@app_option
@click.option("--facts", type=click.File("r", encoding="utf-8"), help="JSON with facts by name: show one decision.")
@click.option("--since", default="24h", show_default=True, help="RFC 3339, or a duration back from now.")
@click.option("--until", help="RFC 3339, or a duration back from now; now where left out.")
@click.option("--sample", type=click.FloatRange(0, min_open=True), default=1.0, help="A share up to 1, or a number.")
@click.option("--price", type=click.FloatRange(0), default=0.0, help="Of one SMS segment.")
@config_option
@json_option
def simulate_file(
    file: Any,
    app_id: str | None,
    facts: Any,
    since: str,
    until: str | None,
    sample: float,
    price: float,
    config: Path | None,
    as_json: bool,
) -> None:
    """Hold FILE against what is live, over recorded traffic, or against given facts."""
    document = file.read()
    if facts is not None:
        _simulate_facts(document, facts, as_json)
        return
    now = system_clock()
    window = (_moment("--since", since, now), _moment("--until", until, now) if until else now + 1)

    async def work(stores: Any) -> Mapping[str, Any]:
        from dispatcher.collector import calm_collector
        from dispatcher.strategy_desk import StrategyDesk

        calm_collector()
        app = await _app(stores, app_id)
        with click.progressbar(length=1, label="Simulating", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

            def progress(done: int, total: int) -> None:
                bar.length = max(total, 1)
                bar.update(done - bar.pos)

            desk = StrategyDesk(stores)
            return await desk.simulate_recorded(
                app, document, *window, sample=sample, segment_price=price, progress=progress
            )

    result = _asked(config, work)
    if as_json:
        show(result)
    else:
        _show_simulation(result)


@strategies.command("publish")
@document_argument
@app_option
@click.option("--percent", type=click.IntRange(1, 100), default=100, show_default=True, help="Share of users.")
@config_option
@json_option
def publish_file(file: Any, app_id: str | None, percent: int, config: Path | None, as_json: bool) -> None:
    """Make FILE live: stored as the draft of its name, judged beside the other strategies, published."""
    document = file.read()

    async def work(stores: Any) -> Mapping[str, Any]:
        from dispatcher.strategy_desk import StrategyDesk, compiled

        app, name, now = await _app(stores, app_id), compiled(document).name, stores.clock()
        standing = await stores.strategies.draft(app, name) or next(
            (one for one in await stores.strategies.published(app) if one.name == name), None
        )
        await stores.strategies.put_draft(
            app, name, document, if_match=standing.etag if standing else None, by=who(), now=now
        )
        live = await StrategyDesk(stores).publish_strategy(app, name, percent, who(), now)
        return {"app": app, "name": name, "version": live.version, "percent": live.percent}

    _say(_asked(config, work), as_json, "{name}@{version} is live for {percent} % of the users of {app}.")


@strategies.command("rollback")
@click.argument("name")
@click.argument("version", type=click.IntRange(1))
@app_option
@config_option
@json_option
def roll_back(name: str, version: int, app_id: str | None, config: Path | None, as_json: bool) -> None:
    """Make the document of an earlier VERSION of NAME live again, for everyone."""

    async def work(stores: Any) -> Mapping[str, Any]:
        from dispatcher.strategy_desk import StrategyDesk

        app = await _app(stores, app_id)
        try:
            live = await StrategyDesk(stores).rollback_strategy(app, name, version, who(), stores.clock())
        except KeyError:
            raise click.ClickException(f"{name} of app {app} has no version {version}.") from None
        return {"app": app, "name": name, "version": live.version, "percent": live.percent, "of": version}

    _say(_asked(config, work), as_json, "{name}@{version} is live in {app}, with the document of {name}@{of}.")


@strategies.command("facts")
def facts_page() -> None:
    """Print what a rule may look at, as a page of Markdown."""
    from strategies.catalogue import render_markdown

    click.echo(render_markdown())


def _asked(config: Path | None, work: Callable[[Any], Awaitable[Result]]) -> Result:
    from dispatcher.ports.directory import StaleDraft

    try:
        result: Result = with_stores(config, work)
        return result
    except Problem as problem:
        faults = "\n".join(f"  {error.field}: {error.message}" for error in problem.body.errors)
        raise click.ClickException(f"{problem.kind.title}:\n{faults}" if faults else problem.detail) from None
    except StaleDraft:
        raise click.ClickException("Somebody stored another draft just now; look at it, then try again.") from None


async def _app(stores: Any, wanted: str | None) -> str:
    known = [app.app_id for app in await stores.apps.apps()]
    if wanted is None and len(known) == 1:
        return str(known[0])
    if wanted is None or wanted not in known:
        listed = ", ".join(known) or "none yet"
        said = f"There is no app {wanted!r}" if wanted is not None else "Say which app with --app"
        raise click.ClickException(f"{said}; there are: {listed}.")
    return wanted


def _moment(option: str, text: str, now: Millis) -> Millis:
    try:
        return now - parse_duration(text) if text[-1:] in "smhd" else parse_time(text)
    except ValueError as error:
        raise click.BadParameter(f"{error}; or a duration back from now, such as 24h", param_hint=option) from None


def _say(values: Mapping[str, Any], as_json: bool, sentence: str) -> None:
    if as_json:
        show(values)
    else:
        click.echo(sentence.format(**values))


def _simulate_facts(document: str, facts: Any, as_json: bool) -> None:
    import msgspec

    from dispatcher.strategy_desk import compiled
    from strategies.facts import FactsInvalid
    from strategies.simulate import simulate_facts

    try:
        result = simulate_facts(compiled(document), msgspec.json.decode(facts.read(), type=dict[str, Any]))
    except Problem as problem:
        faults = "\n".join(f"  {error.field}: {error.message}" for error in problem.body.errors)
        raise click.ClickException(f"The document is not valid:\n{faults}") from None
    except (FactsInvalid, msgspec.DecodeError) as error:
        raise click.ClickException(f"The facts cannot be used: {error}") from None
    if as_json:
        show(result)
    else:
        click.echo(result["words"])


def _show_simulation(result: Mapping[str, Any]) -> None:
    click.echo(
        f"{result['deliveries']} deliveries, {result['decisions']} decisions: {result['window']['old']} and new\n"
    )
    for title, key, rows in (("rule", "name", result["rules"]), ("path", "path", result["paths"])):
        click.echo(f"{title:<32}{'old':>12}{'new':>12}")
        for row in rows:
            changed = click.style(f"{row['new']:>12}", fg="yellow" if row["new"] != row["old"] else None)
            click.echo(f"{row[key]:<32}{row['old']:>12}{changed}")
        click.echo()
    for title, values in (
        ("SMS segments", result["sms_segments"]),
        ("SMS held by limits", result["sms_limited"]),
        ("cost", result["cost"]),
        ("confirmed", result["confirmed"]),
        ("without evidence", result["no_evidence"]),
    ):
        click.echo(f"{title:<32}{values['old']:>12}{values['new']:>12}")
    for share in ("p50", "p95"):
        old, new = (result["time_to_proof_s"][side][share] for side in ("old", "new"))
        click.echo(
            f"{f'time to proof, {share}, s':<32}{'-' if old is None else old:>12}{'-' if new is None else new:>12}"
        )
    for change in result["changes"][:3]:
        click.echo(f"\n{change['message_id']} to {change['user_id']}")
        for side in ("old", "new"):
            click.echo(f"  {side}: " + change[side]["tracks"][0]["explanation"].replace("\n", "\n  "))
