"""Access tokens of a service account (RFC 7523), fetched through our transport: no send ever blocks the loop on one.

One token serves all senders of a process. Ahead of its end a fresh one is fetched beside the sends; without a valid one
all senders wait for the same fetch. https://developers.google.com/identity/protocols/oauth2/service-account
"""

import asyncio
from typing import Any
from urllib.parse import urlencode

import msgspec
from google.auth import jwt
from google.auth.crypt import RSASigner

from dispatcher.domain.clock import MINUTE, SECOND, Millis
from dispatcher.domain.outcome import Rejected, RetryLater
from providers.http2 import Reply, Transport, TransportFault, request

SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer"
_AHEAD: Millis = 5 * MINUTE
_MARGIN: Millis = 30 * SECOND
_DEADLINE: Millis = 10 * SECOND
_PAUSE: Millis = SECOND  #: after a failed fetch


class ServiceAccount(msgspec.Struct, frozen=True, kw_only=True):
    """What we use of Google's service account document. Never prints its key."""

    project_id: str
    client_email: str
    private_key: str
    private_key_id: str = ""
    token_uri: str = "https://oauth2.googleapis.com/token"  # noqa: S105 - an address

    def __repr__(self) -> str:
        return f"ServiceAccount({self.client_email})"


class BadAccount(ValueError):
    """The document is no usable service account; the text names the field and quotes nothing."""


def read_account(document: str | bytes | dict[str, Any]) -> ServiceAccount:
    """From the JSON text or the object Google hands out; raises :class:`BadAccount`."""
    try:
        if isinstance(document, dict):
            account = msgspec.convert(document, ServiceAccount)
        else:
            account = msgspec.json.decode(document, type=ServiceAccount)
    except msgspec.MsgspecError as fault:
        raise BadAccount(f"the FCM service account is unusable: {fault}") from None
    if not account.project_id or not account.client_email:
        raise BadAccount("the FCM service account has no project_id or client_email")
    _signer(account)
    return account


def _signer(account: ServiceAccount) -> Any:
    try:
        return RSASigner.from_string(account.private_key, account.private_key_id)  # type: ignore[no-untyped-call]
    except (ValueError, TypeError):
        raise BadAccount("the FCM service account's private_key is no PEM private key") from None


class _Grant(msgspec.Struct):
    access_token: str
    expires_in: int | float = 3600


class _Refusal(msgspec.Struct):
    error: str = ""


class NoAccess(Exception):
    """There is no access token now; *outcome* is that of every attempt that needed one."""

    def __init__(self, outcome: Rejected | RetryLater) -> None:
        super().__init__(outcome.reason)
        self.outcome = outcome


class AccessTokens:
    """The access token of one service account; owns *transport*."""

    def __init__(self, account: ServiceAccount, transport: Transport) -> None:
        self._account = account
        self._signer = _signer(account)
        self._transport = transport
        self._value = ""
        self._ends_at: Millis = 0
        self._fetch: asyncio.Task[None] | None = None
        self._failed: NoAccess | None = None
        self._failed_until: Millis = 0

    def __repr__(self) -> str:
        return f"AccessTokens({self._account.client_email})"

    async def bearer(self, now: Millis) -> str:
        """``Bearer <token>``; raises :class:`NoAccess`."""
        if now < self._ends_at - _MARGIN:
            if now >= self._ends_at - _AHEAD and now >= self._failed_until:
                self._start(now)
            return self._value
        if self._failed is not None and now < self._failed_until:
            raise self._failed
        # Shielded: a sender that gives up does not take the fetch from the others.
        await asyncio.shield(self._start(now))
        if now < self._ends_at:
            return self._value
        raise self._failed or NoAccess(RetryLater("oauth_unavailable"))

    def forget(self, value: str) -> None:
        """FCM refused *value*: the next sender fetches another. Later words about an older token change nothing."""
        if value == self._value:
            self._ends_at = 0

    async def close(self) -> None:
        """Ends a fetch under way and the connection."""
        if self._fetch is not None and not self._fetch.done():
            self._fetch.cancel()
            await asyncio.gather(self._fetch, return_exceptions=True)
        await self._transport.close()

    def _start(self, now: Millis) -> asyncio.Task[None]:
        if self._fetch is None or self._fetch.done():
            self._fetch = asyncio.create_task(self._refresh(now))
        return self._fetch

    async def _refresh(self, now: Millis) -> None:
        issued = now // SECOND
        claims = {
            "iss": self._account.client_email,
            "scope": SCOPE,
            "aud": self._account.token_uri,
            "iat": issued,
            "exp": issued + 3600,
        }
        assertion = jwt.encode(self._signer, claims).decode()  # type: ignore[no-untyped-call]
        try:
            reply = await request(
                self._transport,
                "POST",
                self._account.token_uri,
                [("content-type", "application/x-www-form-urlencoded")],
                urlencode({"grant_type": _GRANT, "assertion": assertion}).encode(),
                deadline_ms=_DEADLINE,
            )
            self._take(reply, now)
        except TransportFault:
            self._fail(RetryLater("oauth_unavailable"), now)

    def _take(self, reply: Reply, now: Millis) -> None:
        try:
            if reply.status == 200:
                grant = msgspec.json.decode(reply.body, type=_Grant)
                self._value = f"Bearer {grant.access_token}"
                self._ends_at = now + int(grant.expires_in * SECOND)
                self._failed = None
                self._failed_until = 0
                return
            refusal = msgspec.json.decode(reply.body, type=_Refusal).error
        except msgspec.MsgspecError:
            refusal = ""
        if reply.status in {400, 401, 403} and refusal:
            self._fail(Rejected(f"oauth_{refusal[:40]}", configuration=True), now)
        else:
            self._fail(RetryLater("oauth_unavailable", reply.retry_after_ms), now)

    def _fail(self, outcome: Rejected | RetryLater, now: Millis) -> None:
        self._failed = NoAccess(outcome)
        self._failed_until = now + _PAUSE
