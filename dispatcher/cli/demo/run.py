"""The run: six acts one after the other, then the checks."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import httpx
from rich.console import Console

from dispatcher.cli.demo.board import Act, Board, Check, Lines, LiveTable, Silent
from dispatcher.cli.demo.checks import examine
from dispatcher.cli.demo.scenes import SCENES, Scene
from dispatcher.cli.demo.stage import DemoFailed, Stage, open_stage
from dispatcher.client import PushpathError

_REFUSALS = (DemoFailed, PushpathError, httpx.HTTPError, OSError)


async def play(up: Mapping[str, Any], *, silent: bool = False, console: Console | None = None) -> dict[str, Any]:
    """Plays all scenes; the result as ``--json`` prints it. *up*: the document of up.json."""
    begun = time.monotonic()
    acts = [Act(number=number, title=title, to=to) for number, (title, to, _) in enumerate(SCENES, 1)]
    board = _board(acts, silent, console or Console())
    checks: list[Check] = []
    problem: str | None = None
    try:
        async with open_stage(up) as stage:
            for act in acts:
                act.message_id = f"demo-{stage.run}-{act.number}"
            with board.shown():
                for act, (_, _, scene) in zip(acts, SCENES, strict=True):
                    await _perform(stage, act, scene, board)
            checks = await examine(stage, acts)
    except _REFUSALS as error:
        problem = str(error) or type(error).__name__
    seconds = time.monotonic() - begun
    proven = problem is None and all(act.state == "proven" for act in acts) and all(check.passed for check in checks)
    if checks:
        board.checked(checks)
    board.conclude(_conclusion(acts, checks, problem, seconds), well=proven)
    return {
        "proven": proven,
        "seconds": round(seconds, 1),
        "problem": problem,
        "messages": [_shown(act) for act in acts],
        "checks": [{"check": check.text, "passed": check.passed, "found": check.found} for check in checks],
    }


async def _perform(stage: Stage, act: Act, scene: Any, board: Board) -> None:
    """One act; what goes wrong stays in it, so that the others are still shown."""
    act.state, begun = "running", time.monotonic()
    board.begins(act)
    try:
        await scene(Scene(stage, act, board))
        act.state = "proven"
    except _REFUSALS as error:
        act.state, act.problem = "failed", str(error) or type(error).__name__
    act.seconds = time.monotonic() - begun
    board.ends(act)


def _board(acts: Sequence[Act], silent: bool, console: Console) -> Board:
    if silent:
        return Silent()
    return LiveTable(console, acts) if console.is_terminal else Lines(console)


def _conclusion(acts: Sequence[Act], checks: Sequence[Check], problem: str | None, seconds: float) -> str:
    if problem is not None:
        return f"The demo could not be played: {problem}"
    failed = [f"message {act.number}: {act.problem}" for act in acts if act.problem is not None]
    failed += [check.text for check in checks if not check.passed]
    if failed:
        return f"NOT proven ({seconds:.0f} s): " + "; ".join(failed)
    return f"All {len(acts)} messages were proven, all {len(checks)} checks hold ({seconds:.0f} s)."


def _shown(act: Act) -> dict[str, Any]:
    return {
        "message": act.number,
        "title": act.title,
        "message_id": act.message_id,
        "state": act.state,
        "confirmed_by": act.confirmed_by,
        "seconds": round(act.seconds, 2),
        "problem": act.problem,
        "steps": act.steps,
        "events": act.events,
    }
