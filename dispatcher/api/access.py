"""Who is asking, and whether they may: API keys with scopes, device tokens bound to one user and device.

Keys are remembered for :data:`KEY_LIFE`: a revocation is in force everywhere within one second. Device tokens are
verified over their bytes, and their binding is asked of the core each time: moving a device ends its tokens at once.
"""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from litestar.connection import Request

from dispatcher.api.contract import KEY, Contract
from dispatcher.api.core import Core
from dispatcher.api.limits import Allowances
from dispatcher.domain.clock import SECOND, Clock, Millis
from dispatcher.domain.device_token import BadToken, DeviceIdentity
from dispatcher.errors import Kind, Problem
from dispatcher.ports.directory import ApiKey, Apps

KEY_LIFE: Millis = SECOND
MAX_KEYS = 4_096
MAX_BEARER = 4_096

HttpRequest = Request[Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Backend:
    """A caller with an API key."""

    app: str
    key: ApiKey

    @property
    def name(self) -> str:
        """For the audit."""
        return f"key:{self.key.name or self.key.key_id}"


@dataclass(frozen=True, slots=True)
class Phone:
    """A caller with a device token."""

    app: str
    identity: DeviceIdentity

    @property
    def name(self) -> str:
        """For the audit."""
        return f"device:{self.identity.device_id}"


Caller = Backend | Phone


#: What Litestar answers by itself: OPTIONS, with the methods an address takes.
_ALLOW = Contract(summary="Methods of this address", tag="Operations")


class KeyRing:
    """API keys by their secret, read from the ledger at most once a second each."""

    def __init__(self, apps: Apps, clock: Clock) -> None:
        self._apps = apps
        self._clock = clock
        self._known: OrderedDict[str, tuple[Millis, ApiKey | None]] = OrderedDict()
        self._asked: dict[str, asyncio.Future[ApiKey | None]] = {}

    async def find(self, secret: str) -> ApiKey | None:
        """The live key behind *secret*."""
        known = self._known.get(secret)
        if known is not None and self._clock() < known[0]:
            return known[1]
        asked = self._asked.get(secret)
        if asked is None:
            asked = asyncio.ensure_future(self._read(secret))
            self._asked[secret] = asked
            asked.add_done_callback(lambda done: self._answered(secret, done))
        return await asyncio.shield(asked)

    def _answered(self, secret: str, done: "asyncio.Future[ApiKey | None]") -> None:
        self._asked.pop(secret, None)
        if not done.cancelled():
            done.exception()  # whoever still waits gets it; nobody may be left

    async def _read(self, secret: str) -> ApiKey | None:
        asked_at = self._clock()
        key = await self._apps.key_by_secret(secret)
        self._known[secret] = (asked_at + KEY_LIFE, key)
        self._known.move_to_end(secret)
        if len(self._known) > MAX_KEYS:
            self._known.popitem(last=False)
        return key


class Access:
    """Lets callers in, one check before all routes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keys = KeyRing(core.apps, core.clock)
        self._allowances = Allowances(core.throttle, core.clock)
        self._proxies = tuple(ip_network(network) for network in core.settings.trusted_proxies)

    async def admit(self, request: HttpRequest) -> None:
        """Raises Problem 401, 403 or 429; leaves the caller in the request's state."""
        contract: Contract = request.route_handler.opt.get(KEY, _ALLOW)
        if contract.limited:
            await self._spend(f"address:{address_of(request, self._proxies)}", self._core.settings.rate_per_address)
        if contract.open or contract.signed is not None:
            return
        caller = await self._recognise(request)
        if isinstance(caller, Backend):
            await self._spend(f"key:{caller.app}:{caller.key.key_id}", self._core.settings.rate_per_key)
            if not contract.scopes & caller.key.scopes:
                needed = " or ".join(sorted(contract.scopes))
                raise Problem(Kind.MISSING_SCOPE, f"the API key needs the scope {needed}")
        elif not contract.phones:
            raise Problem(Kind.FORBIDDEN, "a device token does not reach this address; an API key does")
        request.state.caller = caller

    async def _spend(self, key: str, limit: int) -> None:
        if not self._core.settings.rate_limits:
            return
        wait = await self._allowances.take(key, limit)
        if wait:
            raise Problem(Kind.RATE_LIMITED, f"more than {limit} requests a second", retry_after=wait)

    async def _recognise(self, request: HttpRequest) -> Caller:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        bearer = bearer.strip()
        if not bearer or scheme.lower() != "bearer":
            raise Problem(Kind.UNAUTHENTICATED, "send Authorization: Bearer with an API key or a device token")
        if len(bearer) > MAX_BEARER or not bearer.isascii() or not bearer.isprintable():
            raise Problem(Kind.UNAUTHENTICATED, "the bearer text is neither API key nor device token")
        if bearer.count(".") == 2:
            return await self._phone(bearer)
        key = await self._keys.find(bearer)
        if key is None:
            raise Problem(Kind.UNAUTHENTICATED, "the API key is unknown or revoked")
        return Backend(key.app_id, key)

    async def _phone(self, token: str) -> Phone:
        try:
            identity = self._core.device_tokens.read(token, self._core.clock())
        except BadToken as bad:
            kind = Kind.TOKEN_EXPIRED if bad.code == "expired" else Kind.UNAUTHENTICATED
            raise Problem(kind, str(bad)) from None
        if not await self._core.is_bound(identity):
            raise Problem(Kind.UNAUTHENTICATED, "the device is bound to another user now, or logged out")
        return Phone(identity.app, identity)


def address_of(request: HttpRequest, proxies: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """Whom to count a request against: the last address that no trusted proxy holds; of IPv6 its /64."""
    client = request.client
    hops = [client.host] if client is not None else []
    if proxies:
        forwarded = request.headers.get("x-forwarded-for", "")
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()] + hops
    while hops:
        hop = hops.pop()
        if not hops or not proxies or not _is_inside(hop, proxies):
            return _counted_as(hop)
    return "local"


@lru_cache(4_096)
def _is_inside(hop: str, networks: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    try:
        address = ip_address(hop)
    except ValueError:
        return False
    return any(address in network for network in networks)


@lru_cache(4_096)
def _counted_as(hop: str) -> str:
    try:
        address = ip_address(hop)
    except ValueError:
        return hop[:64]
    return str(IPv6Network((int(address), 64), strict=False)) if isinstance(address, IPv6Address) else hop


def caller_of(request: HttpRequest) -> Caller:
    """Who was let in."""
    caller: Caller = request.state.caller
    return caller


def backend_of(request: HttpRequest) -> Backend:
    """Who was let in, on routes without device tokens."""
    caller = request.state.caller
    if not isinstance(caller, Backend):
        raise Problem(Kind.FORBIDDEN, "an API key is required")
    return caller
