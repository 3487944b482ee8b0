"""What every provider is; the types stand with the other ports, where the pipeline reads them too."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from dispatcher.domain.outcome import Outcome
from dispatcher.ports.provider import AnswersInParts, Attempt, Limits, Part, Provider

__all__ = ["AnswersInParts", "Attempt", "Limits", "Part", "Provider", "whole"]


async def whole(parts: AsyncGenerator[Part, None]) -> list[Outcome]:
    """All outcomes of *parts*, in the order of their attempts."""
    told: list[tuple[int, Outcome]] = []
    async with aclosing(parts):
        async for part in parts:
            told += part
    return [outcome for _, outcome in sorted(told, key=lambda pair: pair[0])]
