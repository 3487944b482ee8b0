"""What is wrong with a strategy document, where, and what to write instead."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec


class Problem(msgspec.Struct, frozen=True, order=True):
    """One fault of a document. Lines and columns count from 1, in characters; the message ends with what to write."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"line {self.line}, column {self.column}: {self.message}"


class StrategyInvalid(ValueError):
    """A document that must not be stored. Carries every problem found, in reading order."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems: tuple[Problem, ...] = tuple(sorted(problems))
        super().__init__("; ".join(str(problem) for problem in self.problems))
