"""Bodies of the routes for operators: sessions, accounts, unmasking."""

from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from dispatcher.api.access import CHANGES
from dispatcher.api.checks import Id
from dispatcher.api.contract import Scope
from dispatcher.domain.clock import rfc3339
from dispatcher.passwords import LONGEST, SHORTEST
from dispatcher.ports.directory import App
from dispatcher.ports.operations import Operator, Role, Session

#: Without a colon: the audit tells ``key:...`` and ``device:...`` from people by it.
Login = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._@+-]{1,64}$(?!\n)", description="how the person signs in")]
Password = Annotated[str, Meta(min_length=SHORTEST, max_length=LONGEST)]
AppId = Id


class SignIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """Whoever this is."""

    login: Annotated[str, Meta(min_length=1, max_length=64)]
    password: Annotated[str, Meta(min_length=1, max_length=LONGEST)]

    def __repr__(self) -> str:
        return f"SignIn({self.login})"


class AppName(Struct, kw_only=True):
    """An app that the operator sees."""

    app_id: str
    name: str


class WhoOut(Struct, kw_only=True):
    """Who is signed in, what they may change (``scopes``), and which apps they see."""

    login: str
    role: Role
    scopes: list[str]
    apps: list[AppName]
    all_apps: bool
    expires_at: str


class SessionOut(WhoOut, kw_only=True):
    """The same with the token to send as ``Authorization: Bearer``."""

    token: str


def who(session: Session, apps: list[App]) -> dict[str, Any]:
    """Members of :class:`WhoOut`."""
    operator = session.operator
    return {
        "login": operator.login,
        "role": operator.role,
        "scopes": sorted(CHANGES[operator.role] | {Scope.READ}),
        "apps": [AppName(app_id=app.app_id, name=app.name) for app in apps if operator.sees(app.app_id)],
        "all_apps": operator.apps is None,
        "expires_at": rfc3339(session.expires_at),
    }


class OperatorIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """``apps`` null: all apps. ``password``: required for a new operator; a changed one ends their sessions."""

    role: Role
    apps: Annotated[list[AppId], Meta(max_length=1_000)] | None = None
    password: Password | UnsetType = UNSET

    def __repr__(self) -> str:
        return f"OperatorIn({self.role})"


class OperatorOut(Struct, kw_only=True):
    """One account."""

    login: str
    role: Role
    apps: list[str] | None
    created_at: str
    disabled_at: str | None
    etag: str  #: for If-Match, as in the header


class OperatorsOut(Struct):
    """By login."""

    operators: list[OperatorOut]


def operator_out(operator: Operator) -> OperatorOut:
    """As the API shows it."""
    return OperatorOut(
        login=operator.login,
        role=operator.role,
        apps=None if operator.apps is None else list(operator.apps),
        created_at=rfc3339(operator.created_at),
        disabled_at=rfc3339(operator.disabled_at) if operator.disabled_at is not None else None,
        etag=operator.etag,
    )


class UnmaskIn(Struct, forbid_unknown_fields=True, kw_only=True):
    """A user's number or a device's tokens; ``reason`` goes into the audit."""

    user_id: Id | None = None
    device_id: Id | None = None
    reason: Annotated[str, Meta(max_length=500)] = ""


class PlainTokenOut(Struct, kw_only=True):
    """A push token in plain."""

    path: str
    kind: str
    environment: str | None
    topic: str | None
    state: str
    value: str


class UnmaskOut(Struct, kw_only=True, omit_defaults=True):
    """``phone`` for a user, ``tokens`` for a device."""

    user_id: str
    device_id: str | None = None
    phone: str | UnsetType | None = UNSET
    tokens: list[PlainTokenOut] | UnsetType = UNSET
