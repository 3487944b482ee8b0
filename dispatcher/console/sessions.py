"""Who is signed in, by the number in their signed cookie. In memory only: tokens never reach a disk."""

import secrets
from collections.abc import Callable
from datetime import UTC, datetime

import httpx

from dispatcher.console.api import Api, Operator

COOKIE_KEY = "operator"
#: More at once than any team has; beyond it the oldest are forgotten (they sign in again).
MOST = 2_000


class Sessions:
    """Sign-ins of this process. A restart ends them, as a sign-out would."""

    def __init__(self, client: httpx.AsyncClient, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.client = client
        self._now = now
        self._open: dict[str, Api] = {}

    def open(self, operator: Operator) -> str:
        """A fresh, unguessable number for this sign-in."""
        self._forget()
        number = secrets.token_urlsafe(32)
        self._open[number] = Api(self.client, operator, now=self._now)
        return number

    def find(self, number: object) -> Api | None:
        """The API in the name of who signed in; None where nobody did, or not any more."""
        api = self._open.get(number) if isinstance(number, str) else None
        if api is None or api.operator is None or api.operator.ended or api.operator.expires_at <= self._now():
            return None
        return api

    def close(self, number: object) -> Api | None:
        """Forgets a sign-in; what it was, so that its token can be ended too."""
        return self._open.pop(number, None) if isinstance(number, str) else None

    def _forget(self) -> None:
        now = self._now()
        for number, api in list(self._open.items()):
            if api.operator is None or api.operator.ended or api.operator.expires_at <= now:
                del self._open[number]
        while len(self._open) >= MOST:
            del self._open[next(iter(self._open))]
