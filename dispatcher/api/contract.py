"""What a route promises, beside its handler: who may call it, what it takes and answers. OpenAPI is made of these."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

#: The key under which a handler's ``opt`` holds its contract.
KEY = "contract"


class Scope(StrEnum):
    """What an API key may do."""

    SEND = "send"
    USERS = "users"
    DEVICES = "devices"
    READ = "read"
    STRATEGIES = "strategies"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """One operation."""

    summary: str
    tag: str
    scopes: frozenset[Scope] = frozenset()  #: an API key needs one of them
    phones: bool = False  #: device tokens may call it
    signed: str | None = None  #: the header whose signature stands in for a login
    operators: bool = True  #: operators' sessions may call it as far as their role goes
    safe: bool = False  #: changes nothing though it is no GET: every role that may look may call it
    any_app: bool = False  #: of no app: operators need not say which they mean
    ends_session: bool = False  #: the session may be over afterwards
    limited: bool = True  #: counts against the caller's rate
    body: Any = None  #: the type of a JSON body
    body_required: bool = True
    media: tuple[str, ...] = ("application/json",)  #: of the body
    query: Any = None
    #: type of each good answer's body, several as a tuple; None: no body; a text: its media type
    answers: Mapping[int, Any] = field(default_factory=dict)
    tagged: bool = False  #: good answers carry an ETag
    conditional: bool = False  #: tagged, and ``If-Match`` and ``If-None-Match: *`` guard the change
    problems: tuple[int, ...] = ()  #: besides those that every operation of its kind may answer

    @property
    def open(self) -> bool:
        """Whether nobody needs to say who they are."""
        return not self.scopes and not self.phones and self.signed is None

    def opt(self) -> dict[str, Any]:
        """For the handler's ``opt``."""
        return {KEY: self}


def scopes(*names: Scope) -> frozenset[Scope]:
    """One of these."""
    return frozenset(names)
