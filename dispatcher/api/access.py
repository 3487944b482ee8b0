"""Who is asking, and whether they may: API keys with scopes, device tokens bound to one user and device.

Keys and sessions are remembered for a second: a revocation is in force everywhere after it. Device tokens are
verified over their bytes, and their binding is asked of the core each time: moving a device ends its tokens at once.
"""

from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from litestar.connection import Request

from dispatcher.api.contract import KEY, Contract, Scope
from dispatcher.api.core import Core
from dispatcher.api.limits import Allowances
from dispatcher.api.operations import AppDoor
from dispatcher.api.rings import Ring
from dispatcher.domain.device_token import BadToken, DeviceIdentity
from dispatcher.errors import Kind, Problem
from dispatcher.ports.directory import ApiKey
from dispatcher.ports.operations import Role, Session

MAX_BEARER = 4_096
#: Which app an operator means; may be left out by who sees exactly one.
APP_HEADER = "pushpath-app"
_SESSION = "ps_"

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


#: What a role may look at, and what it may change. What changes nothing is a GET, or says so in its contract.
_SEES = frozenset({Scope.READ, Scope.USERS, Scope.DEVICES, Scope.STRATEGIES})
_READS: dict[Role, frozenset[Scope]] = {Role.VIEWER: _SEES, Role.EDITOR: _SEES, Role.ADMIN: frozenset(Scope)}
CHANGES: dict[Role, frozenset[Scope]] = {
    Role.VIEWER: frozenset(),
    Role.EDITOR: frozenset({Scope.STRATEGIES}),
    Role.ADMIN: frozenset(Scope),
}


@dataclass(frozen=True, slots=True)
class Person(Backend):
    """A caller with an operator's session: whatever a backend may ask for, as far as the role goes."""

    session: Session

    @property
    def name(self) -> str:
        """The login, for the audit."""
        return self.session.operator.login


Caller = Backend | Phone


_NO_RULES = AppDoor()
#: What Litestar answers by itself: OPTIONS, with the methods an address takes.
_ALLOW = Contract(summary="Methods of this address", tag="Operations")


class Access:
    """Lets callers in, one check before all routes."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._keys = Ring(core.apps.key_by_secret, core.clock)
        self._sessions = Ring(self._session, core.clock)
        self._doors: Ring[AppDoor | None] = Ring(core.operations.door, core.clock, away=AppDoor)
        self._allowances = Allowances(core.throttle, core.clock)
        self._proxies = tuple(ip_network(network) for network in core.settings.trusted_proxies)

    async def admit(self, request: HttpRequest) -> None:
        """Raises Problem 401, 403 or 429; leaves the caller, and the app's own rules, in the request's state."""
        contract: Contract = request.route_handler.opt.get(KEY, _ALLOW)
        address = address_of(request, self._proxies)
        if contract.limited:
            await self._spend(f"address:{address}", self._core.settings.rate_per_address)
        request.state.address = address
        if contract.open or contract.signed is not None:
            return
        caller = await self._recognise(request, contract)
        door = self._doors.at_hand(caller.app) or await self._doors.find(caller.app) or _NO_RULES
        if isinstance(caller, Phone):
            await self._admit_phone(caller, contract, door)
        elif isinstance(caller, Person):
            await self._spend(f"key:{caller.key.key_id}", self._core.settings.rate_per_key)
            _check_person(caller, contract, str(request.scope["method"]))
        else:
            await self._spend(
                f"key:{caller.app}:{caller.key.key_id}", door.rate_per_key or self._core.settings.rate_per_key
            )
            if not contract.scopes & caller.key.scopes:
                needed = " or ".join(sorted(contract.scopes))
                raise Problem(Kind.MISSING_SCOPE, f"the API key needs the scope {needed}")
        if door is not _NO_RULES and not isinstance(caller, Person):
            user_id = caller.identity.user_id if isinstance(caller, Phone) else None
            if (block := door.barred(raw_address_of(request, self._proxies), user_id, self._core.clock())) is not None:
                raise Problem(Kind.BLOCKED, f"this {block.kind} is blocked")
        request.state.caller = caller
        request.state.door = door

    async def _admit_phone(self, caller: Phone, contract: Contract, door: AppDoor) -> None:
        if not contract.phones:
            raise Problem(Kind.FORBIDDEN, "a device token does not reach this address; an API key does")
        limit = door.rate_per_device or self._core.settings.rate_per_device
        await self._spend(f"device:{caller.app}:{caller.identity.device_id}", limit)

    async def _spend(self, key: str, limit: int) -> None:
        if not self._core.settings.rate_limits:
            return
        wait = await self._allowances.take(key, limit)
        if wait:
            raise Problem(Kind.RATE_LIMITED, f"more than {limit} requests a second", retry_after=wait)

    async def _recognise(self, request: HttpRequest, contract: Contract) -> Caller:
        scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
        bearer = bearer.strip()
        if not bearer or scheme.lower() != "bearer":
            raise Problem(Kind.UNAUTHENTICATED, "send Authorization: Bearer with an API key or a device token")
        if len(bearer) > MAX_BEARER or not bearer.isascii() or not bearer.isprintable():
            raise Problem(Kind.UNAUTHENTICATED, "the bearer text is neither API key nor device token")
        if bearer.count(".") == 2:
            return await self._phone(bearer)
        if bearer.startswith(_SESSION):
            return await self._person(bearer, request, contract)
        key = await self._keys.find(bearer)
        if key is None:
            raise Problem(Kind.UNAUTHENTICATED, "the API key is unknown or revoked")
        return Backend(key.app_id, key)

    async def _session(self, token: str) -> Session | None:
        return await self._core.operations.operators.session_by_token(token, self._core.clock())

    async def _person(self, token: str, request: HttpRequest, contract: Contract) -> Person:
        session = await self._sessions.find(token)
        if session is None or session.expires_at <= self._core.clock():
            raise Problem(Kind.UNAUTHENTICATED, "the session has ended: sign in again")
        if contract.ends_session:
            self._sessions.forget(token)
        app = "" if contract.any_app else await self._app_of(session, request.headers.get(APP_HEADER, ""))
        key = ApiKey(
            key_id=f"session:{session.session_id}",
            app_id=app,
            name=session.operator.login,
            scopes=frozenset(scope.value for scope in CHANGES[session.operator.role] | {Scope.READ}),
            created_at=session.signed_in_at,
        )
        return Person(app, key, session)

    async def _app_of(self, session: Session, named: str) -> str:
        """The app that is meant. One that is not theirs is answered like one that does not exist."""
        operator = session.operator
        if named:
            if not operator.sees(named) or await self._doors.find(named) is None:
                raise Problem(Kind.FORBIDDEN, f"the app {named[:128]!r} is none of this operator's")
            return named
        theirs = operator.apps
        if theirs is None:
            theirs = tuple(app.app_id for app in await self._core.apps.apps())
        if len(theirs) != 1:
            raise Problem.invalid("Pushpath-App", "say which app is meant in this header: you see several, or none")
        return theirs[0]

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


def raw_address_of(request: HttpRequest, proxies: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """The same address whole, for block lists: an IPv6 one is not cut."""
    client = request.client
    hops = [client.host] if client is not None else []
    if proxies:
        forwarded = request.headers.get("x-forwarded-for", "")
        hops = [hop.strip() for hop in forwarded.split(",") if hop.strip()] + hops
    while hops:
        hop = hops.pop()
        if not hops or not _is_inside(hop, proxies):
            return hop
    return ""


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


def _check_person(caller: Person, contract: Contract, method: str) -> None:
    """403 where the role does not reach."""
    role = caller.session.operator.role
    if not contract.operators:
        raise Problem(Kind.FORBIDDEN, "this address is for backends and phones, not for operators")
    rights = _READS[role] if method in {"GET", "HEAD"} or contract.safe else CHANGES[role]
    if contract.scopes and not contract.scopes & rights:
        needed = " or ".join(sorted(contract.scopes))
        raise Problem(Kind.MISSING_SCOPE, f"this needs the scope {needed}, which the role {role} has not")


def caller_of(request: HttpRequest) -> Caller:
    """Who was let in."""
    caller: Caller = request.state.caller
    return caller


def door_of(request: HttpRequest) -> AppDoor:
    """The app's own rules at the entry."""
    door: AppDoor = request.state.door
    return door


def person_of(request: HttpRequest) -> Person:
    """Who signed in; 403 for an API key: what is asked of a person must name one."""
    caller = request.state.caller
    if not isinstance(caller, Person):
        raise Problem(Kind.FORBIDDEN, "an operator's session is required: POST /v1/sessions")
    return caller


def backend_of(request: HttpRequest) -> Backend:
    """Who was let in, on routes without device tokens."""
    caller = request.state.caller
    if not isinstance(caller, Backend):
        raise Problem(Kind.FORBIDDEN, "an API key is required")
    return caller
