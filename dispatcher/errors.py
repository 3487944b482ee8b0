"""Errors that reach a caller: each knows its status, its code, whether a retry helps and whether a person must look.

Rendered as RFC 9457 ``application/problem+json``. The core raises or returns :class:`Problem`; the door renders it.
"""

from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, NamedTuple, Self

import msgspec

from dispatcher.domain.clock import SECOND, Millis

MEDIA_TYPE = "application/problem+json"


class _Traits(NamedTuple):
    status: int
    title: str
    retry_helps: bool = False
    needs_person: bool = False


class Kind(Enum):
    """Every problem the API answers with. The member's name in lower case is its ``code``."""

    MALFORMED = _Traits(400, "The request cannot be read")
    UNAUTHENTICATED = _Traits(401, "Who is asking is not known")
    TOKEN_EXPIRED = _Traits(401, "The device token has ended")
    FORBIDDEN = _Traits(403, "Not allowed")
    MISSING_SCOPE = _Traits(403, "The API key lacks a scope")
    BLOCKED = _Traits(403, "Kept out by a block list")
    NOT_YOURS = _Traits(403, "User or device is not the token's")
    BAD_SIGNATURE = _Traits(403, "The signature does not match")
    NOT_FOUND = _Traits(404, "Not found")
    METHOD_NOT_ALLOWED = _Traits(405, "The method is not for this address")
    CONFLICT = _Traits(409, "The id is taken by other content")
    STALE = _Traits(412, "It has changed since you read it")
    TOO_LARGE = _Traits(413, "The request is too large")
    INVALID = _Traits(422, "The request is not valid")
    PRECONDITION_REQUIRED = _Traits(428, "If-Match is required")
    RATE_LIMITED = _Traits(429, "Too many requests", retry_helps=True)
    INTERNAL = _Traits(500, "The fault is ours", retry_helps=True, needs_person=True)
    UNAVAILABLE = _Traits(503, "Not available now", retry_helps=True)
    OVERLOADED = _Traits(503, "Too much at once", retry_helps=True)
    NOT_READY = _Traits(503, "Not ready", retry_helps=True, needs_person=True)

    @property
    def code(self) -> str:
        """What a program tells it by."""
        return self.name.lower()

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    @property
    def title(self) -> str:
        """The same sentence for every problem of this kind."""
        return self.value.title

    @property
    def retry_helps(self) -> bool:
        """Whether the same request may succeed later."""
        return self.value.retry_helps

    @property
    def needs_person(self) -> bool:
        """Whether an operator must look before it gets better."""
        return self.value.needs_person


class FieldError(msgspec.Struct, frozen=True):
    """What is wrong with one field: its path as in ``to.user_ids[3]``, and what to write instead."""

    field: str
    message: str


class ProblemBody(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of every error (RFC 9457)."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    errors: list[FieldError] = msgspec.field(default_factory=list)
    retry: bool = False  #: whether the same request may succeed later


_encode = msgspec.json.Encoder().encode


class Problem(Exception):
    """An expected refusal. *retry_after*: when the same request may succeed; *headers*: to go with the answer."""

    def __init__(
        self,
        kind: Kind,
        detail: str,
        *,
        errors: Sequence[FieldError] = (),
        retry_after: Millis | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.kind = kind
        self.detail = detail
        self.errors = tuple(errors)
        self.retry_after = retry_after
        self.extra_headers = dict(headers or {})

    @classmethod
    def invalid(cls, field: str, message: str) -> Self:
        """422 for one field."""
        return cls.invalid_fields([FieldError(field, message)])

    @classmethod
    def invalid_fields(cls, errors: Sequence[FieldError]) -> Self:
        """422 for several fields."""
        detail = "; ".join(f"{error.field}: {error.message}" if error.field else error.message for error in errors)
        return cls(Kind.INVALID, detail, errors=errors)

    @classmethod
    def malformed(cls, detail: str) -> Self:
        """400."""
        return cls(Kind.MALFORMED, detail)

    @classmethod
    def not_found(cls, what: str) -> Self:
        """404; *what* such as ``message``. Also for what belongs to another app."""
        return cls(Kind.NOT_FOUND, f"there is no such {what}")

    @classmethod
    def conflict(cls, detail: str) -> Self:
        """409."""
        return cls(Kind.CONFLICT, detail)

    @classmethod
    def unavailable(cls, detail: str, retry_after: Millis = SECOND) -> Self:
        """503: a store is away, or full."""
        return cls(Kind.UNAVAILABLE, detail, retry_after=retry_after)

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.kind.status

    @property
    def body(self) -> ProblemBody:
        """As RFC 9457 has it."""
        return ProblemBody(
            type=f"urn:pushpath:problem:{self.kind.code}",
            title=self.kind.title,
            status=self.kind.status,
            code=self.kind.code,
            detail=self.detail,
            errors=list(self.errors),
            retry=self.kind.retry_helps,
        )

    def render(self) -> bytes:
        """The body as JSON."""
        return _encode(self.body)

    @property
    def headers(self) -> dict[str, str]:
        """Retry-After in whole seconds (RFC 9110, 10.2.3), WWW-Authenticate where nobody was recognised."""
        headers = dict(self.extra_headers)
        if self.retry_after is not None:
            headers["Retry-After"] = str(max(1, -(-self.retry_after // SECOND)))
        elif self.kind.status in {429, 503}:
            headers["Retry-After"] = "1"
        if self.kind.status == 401:
            headers["WWW-Authenticate"] = 'Bearer realm="pushpath"'
        return headers

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Problem) and other.body == self.body

    __hash__ = Exception.__hash__

    def __repr__(self) -> str:
        return f"Problem({self.status} {self.kind.code}: {self.detail})"


def problem_builtins(problem: Problem) -> dict[str, Any]:
    """The body as plain values, for batch results."""
    built: dict[str, Any] = msgspec.to_builtins(problem.body)
    return built
