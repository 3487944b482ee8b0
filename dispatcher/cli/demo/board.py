"""Showing the run while it happens: a live table on a terminal, plain lines elsewhere, nothing for scripts."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

_MARKS = {"waiting": "[dim]·[/]", "running": "[yellow]…[/]", "proven": "[green]✓[/]", "failed": "[red]✗[/]"}


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing that was compared with the simulators' logs or the API."""

    text: str
    passed: bool
    found: str = ""  #: what was there instead


@dataclass(kw_only=True)
class Act:
    """One of the six messages, as far as it has come."""

    number: int
    title: str
    to: str
    message_id: str = ""
    state: str = "waiting"  #: waiting, running, proven, failed
    steps: list[str] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    confirmed_by: str | None = None
    seconds: float = 0.0
    problem: str | None = None


class Board(Protocol):
    """Where the acts are shown."""

    def shown(self) -> AbstractContextManager[Any]:
        """The board is up inside."""

    def begins(self, act: Act) -> None: ...

    def step(self, act: Act, text: str) -> None: ...

    def ends(self, act: Act) -> None: ...

    def checked(self, checks: Sequence[Check]) -> None: ...

    def conclude(self, text: str, *, well: bool) -> None: ...


class Silent:
    """For --json."""

    def shown(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def begins(self, act: Act) -> None: ...

    def step(self, act: Act, text: str) -> None: ...

    def ends(self, act: Act) -> None: ...

    def checked(self, checks: Sequence[Check]) -> None: ...

    def conclude(self, text: str, *, well: bool) -> None: ...


class Lines:
    """A line a step, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def shown(self) -> AbstractContextManager[Any]:
        return nullcontext()

    def begins(self, act: Act) -> None:
        self._say(f"{act.number}. {act.title} (to {act.to})")

    def step(self, act: Act, text: str) -> None:
        self._say(f"     {text}")

    def ends(self, act: Act) -> None:
        if act.problem is not None:
            self._say(f"   FAILED after {act.seconds:.1f} s: {act.problem}")
        else:
            self._say(f"   proven by {act.confirmed_by} after {act.seconds:.1f} s")

    def checked(self, checks: Sequence[Check]) -> None:
        self._say("Checked against the simulators' request logs and the API:")
        for check in checks:
            self._say(f"  {'ok    ' if check.passed else 'FAILED'} {_with_found(check)}")

    def conclude(self, text: str, *, well: bool) -> None:
        self._say(text)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


class LiveTable:
    """All six at once, redrawn with every step; steps in a row, so that the table fits a small terminal."""

    def __init__(self, console: Console, acts: Sequence[Act]) -> None:
        self._console = console
        self._acts = acts
        self._live = Live(self._table(), console=console, refresh_per_second=8)

    def shown(self) -> AbstractContextManager[Any]:
        return self._live

    def begins(self, act: Act) -> None:
        self._redraw()

    def step(self, act: Act, text: str) -> None:
        self._redraw()

    def ends(self, act: Act) -> None:
        self._redraw()

    def checked(self, checks: Sequence[Check]) -> None:
        self._console.print("\nChecked against the simulators' request logs and the API:")
        for check in checks:
            mark = "[green]ok    [/]" if check.passed else "[red]FAILED[/]"
            self._console.print(f"  {mark} {escape(_with_found(check))}", highlight=False)

    def conclude(self, text: str, *, well: bool) -> None:
        self._console.print(Text(f"\n{text}", style="bold green" if well else "bold red"))

    def _redraw(self) -> None:
        self._live.update(self._table())

    def _table(self) -> Table:
        table = Table(title="Six messages over every path", title_justify="left", show_lines=True, expand=True)
        table.add_column("", width=1)
        table.add_column("message", ratio=3)
        table.add_column("what happens", ratio=5)
        table.add_column("proof", ratio=2)
        for act in self._acts:
            proof = ""
            if act.state == "proven":
                proof = f"[green]{act.confirmed_by}[/] after {act.seconds:.1f} s"
            elif act.problem is not None:
                proof = f"[red]{escape(act.problem)}[/]"
            table.add_row(
                _MARKS[act.state],
                f"{escape(act.title)}\n[dim]to {escape(act.to)}[/]",
                escape(" → ".join(act.steps)),
                proof,
            )
        return table


def _with_found(check: Check) -> str:
    return check.text if check.passed or not check.found else f"{check.text} (found: {check.found})"
