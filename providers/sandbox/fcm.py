"""FCM HTTP v1: ``POST /v1/projects/{project}/messages:send`` and the token endpoint ``POST /token``."""

import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import msgspec

from providers.sandbox.end import Subject
from providers.sandbox.fcm_errors import JSON_TYPE, USUAL_REASON, Violation, bad_payload, plain, verdict
from providers.sandbox.fcm_message import target_of, violation
from providers.sandbox.oauth import OAuth
from providers.sandbox.script import ErrorRule, Script
from providers.sandbox.wire.exchange import Answer, Request

OAUTH_PATH = "/token"
_decode = msgspec.json.Decoder().decode


class Fcm:
    """The vendor behind the FCM listeners, clear text and TLS."""

    def __init__(
        self, account: dict[str, str], oauth: OAuth, script: Callable[[], Script], clock: Callable[[], float]
    ) -> None:
        self._project = account["project_id"]
        self._send_path = f"/v1/projects/{self._project}/messages:send"
        self._oauth = oauth
        self._script = script
        self._clock = clock

    def describe(self, request: Request) -> Subject:
        """OAuth requests are exempt from faults."""
        if _path(request) == OAUTH_PATH:
            return Subject(None, exempt=True)
        return Subject(target_of(_body(request)))

    def delay_s(self, subject: Subject) -> float:
        """``oauth_latency`` of the script."""
        return self._script().oauth_latency_s

    def check(self, request: Request) -> Answer | None:
        """Path, access token, then the message."""
        if _path(request) == OAUTH_PATH:
            return self._oauth.token(request)
        if request.method != "POST" or not _path(request).startswith("/v1/projects/"):
            return plain(HTTPStatus.NOT_FOUND, "The requested URL was not found on this server.")
        scheme, _, token = request.headers().get(b"authorization", b"").decode("utf-8", "replace").partition(" ")
        if scheme.lower() != "bearer" or not self._oauth.accepts(token):
            return plain(HTTPStatus.UNAUTHORIZED, "Request had invalid authentication credentials.")
        if _path(request) != self._send_path:
            return plain(HTTPStatus.FORBIDDEN, "Permission 'cloudmessaging.messages.create' denied on resource.")
        wrong = violation(_body(request))
        return bad_payload(wrong) if wrong else None

    def accept(self, request: Request) -> Answer:
        """200 with the message's name."""
        message_id = f"0:{int(self._clock() * 1_000_000)}%{secrets.token_hex(8)}"
        body = msgspec.json.encode({"name": f"projects/{self._project}/messages/{message_id}"})
        return Answer(HTTPStatus.OK, (JSON_TYPE,), body)

    def refuse(self, request: Request, rule: ErrorRule) -> Answer:
        """A ``field`` makes it a fault of the payload, else it is a verdict with FcmError."""
        if rule.status is not None and rule.status < HTTPStatus.BAD_REQUEST:
            return self.accept(request)
        if rule.field is not None:
            return bad_payload(Violation(rule.field, rule.reason or "scripted"), rule.status or 400)
        reason = rule.reason or USUAL_REASON.get(rule.status or 500, "INTERNAL")
        return verdict(reason, rule.status, rule.retry_after)


def _path(request: Request) -> str:
    return request.path.partition("?")[0]


def _body(request: Request) -> Any:
    try:
        return _decode(request.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
