"""Where finished spans go."""

from typing import Protocol

from dispatcher.domain.trace import Span


class Tracing(Protocol):
    """Telling never fails and never waits; beyond what may wait, spans are dropped."""

    def record(self, span: Span) -> None: ...

    async def close(self) -> None:
        """Sends what waits, as far as a moment allows."""
