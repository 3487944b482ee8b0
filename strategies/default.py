"""The strategy that ships: good for every class on every platform, and the example to start from."""

from __future__ import annotations

from importlib import resources

from strategies.compile import Strategy, compile_strategy
from strategies.document import parse_document


def default_source() -> str:
    """The shipped document's text."""
    return resources.files("strategies").joinpath("default.yaml").read_text("utf-8")


def default_strategy(version: int = 1) -> Strategy:
    """The shipped document, compiled."""
    return compile_strategy(parse_document(default_source()), "default", version)
