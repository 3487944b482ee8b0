"""APNs: ``POST /3/device/{token}``, judged by the rules of Apple's "Sending notification requests to APNs".

Any token is good unless a script says otherwise. Where Apple publishes no reason (a payload that is no JSON object
with ``aps``) PayloadEmpty is answered; expirations beyond 32 bits are BadExpirationDate, because they are milliseconds.
"""

import re
import uuid
from collections.abc import Callable, Mapping
from urllib.parse import unquote
from weakref import WeakSet

import msgspec

from providers.sandbox.apns_auth import ProviderTokens
from providers.sandbox.apns_errors import USUAL_REASON, failure
from providers.sandbox.credentials import ApnsCredentials
from providers.sandbox.end import STREAMS, Subject
from providers.sandbox.script import ErrorRule, Script
from providers.sandbox.wire.exchange import Answer, Connection, Request

PREFIX = "/3/device/"
MAX_PAYLOAD = 4096
MAX_VOIP_PAYLOAD = 5120
MAX_COLLAPSE_ID = 64
LAST_EXPIRATION = 2**32
#: Push types and what the topic of each ends with.
TOPIC_SUFFIX = {
    b"alert": "",
    b"background": "",
    b"mdm": None,  # its topic is the certificate's
    b"location": ".location-query",
    b"voip": ".voip",
    b"complication": ".complication",
    b"fileprovider": ".pushkit.fileprovider",
    b"liveactivity": ".push-type.liveactivity",
    b"pushtotalk": ".voip-ptt",
    b"widgets": ".push-type.widgets",
    b"controls": ".push-type.controls",
}
NEEDS_APS = frozenset({None, b"alert", b"background", b"liveactivity"})
_UUID = re.compile(rb"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NUMBER = re.compile(rb"\d{1,18}")
_aps = msgspec.json.Decoder(dict[str, msgspec.Raw])


class Apns:
    """The vendor behind both APNs listeners; *environment* names the listener."""

    def __init__(
        self,
        credentials: ApnsCredentials,
        tokens: ProviderTokens,
        script: Callable[[], Script],
        clock: Callable[[], float],
        environment: str,
    ) -> None:
        self._topic = credentials.topic
        self._tokens = tokens
        self._script = script
        self._clock = clock
        self._environment = environment
        self._proven: WeakSet[Connection] = WeakSet()

    def describe(self, request: Request) -> Subject:
        """The token is whatever follows the path's prefix."""
        path = request.path
        if not path.startswith(PREFIX):
            return Subject(None)
        token = path[len(PREFIX) :]
        return Subject(unquote(token) if "%" in token else token)

    def delay_s(self, subject: Subject) -> float:
        """No request is exempt here."""
        return 0.0

    def check(self, request: Request) -> Answer | None:
        """Apple's order: path, method, token in the path, headers, provider token, topic, payload."""
        headers = request.headers()
        reason = self._faulty(request, headers)
        return failure(_apns_id(headers), reason) if reason else None

    def accept(self, request: Request) -> Answer:
        """200, with apns-unique-id in the sandbox environment as Apple does."""
        apns_id = _apns_id(request.headers())
        if self._environment == "sandbox":
            return Answer(200, ((b"apns-id", apns_id), (b"apns-unique-id", str(uuid.uuid4()).encode())))
        return Answer(200, ((b"apns-id", apns_id),))

    def refuse(self, request: Request, rule: ErrorRule) -> Answer:
        """By the rule's reason, else the usual one of its status."""
        if rule.status is not None and rule.status < 400:
            return self.accept(request)
        reason = rule.reason or USUAL_REASON.get(rule.status or 500, "InternalServerError")
        return failure(
            _apns_id(request.headers()),
            reason,
            status=rule.status,
            timestamp_ms=rule.timestamp_ms,
            retry_after=rule.retry_after,
            now=self._clock(),
        )

    def _faulty(self, request: Request, headers: Mapping[bytes, bytes]) -> str | None:
        if not request.path.startswith(PREFIX):
            return "BadPath"
        if request.method != "POST":
            return "MethodNotAllowed"
        token = request.path[len(PREFIX) :]
        if not token:
            return "MissingDeviceToken"
        if len(headers) != len(request.raw_headers) and _repeated(request):
            return "DuplicateHeaders"
        reason = self._tokens.judge(
            headers.get(b"authorization"),
            request.connection,
            self._clock(),
            by_team=self._script().document.updates_counted_by == "team",
        )
        if reason:
            return reason
        if request.connection not in self._proven:
            self._proven.add(request.connection)
            request.connection.allow_streams(self._script().document.streams or STREAMS)
        return (
            _bad_header(headers)
            or self._bad_topic(headers)
            or _bad_payload(headers, request.body)
            or self._stray(token)
        )

    def _bad_topic(self, headers: Mapping[bytes, bytes]) -> str | None:
        topic = headers.get(b"apns-topic")
        if not topic:
            return "MissingTopic"
        suffix = TOPIC_SUFFIX[headers.get(b"apns-push-type", b"alert")]
        if suffix is None:
            return None
        return None if topic.decode("utf-8", "replace") == self._topic + suffix else "TopicDisallowed"

    def _stray(self, token: str) -> str | None:
        only = self._script().environment_of(token)
        return None if only in (None, self._environment) else "BadDeviceToken"


def _apns_id(headers: Mapping[bytes, bytes]) -> bytes:
    """The client's id where it is one, else a new one."""
    given = headers.get(b"apns-id")
    return given if given is not None and _UUID.fullmatch(given) else str(uuid.uuid4()).encode()


def _repeated(request: Request) -> bool:
    names = [name for name, _ in request.raw_headers if name.startswith(b"apns-") or name == b"authorization"]
    return len(set(names)) != len(names)


def _bad_header(headers: Mapping[bytes, bytes]) -> str | None:
    apns_id = headers.get(b"apns-id")
    if apns_id is not None and not _UUID.fullmatch(apns_id):
        return "BadMessageId"
    push_type = headers.get(b"apns-push-type", b"alert")
    if push_type not in TOPIC_SUFFIX:
        return "InvalidPushType"
    expiration = headers.get(b"apns-expiration")
    if expiration is not None and not (_NUMBER.fullmatch(expiration) and int(expiration) < LAST_EXPIRATION):
        return "BadExpirationDate"
    priority = headers.get(b"apns-priority")
    if priority is not None and (
        priority not in (b"10", b"5", b"1") or (push_type == b"background" and priority == b"10")
    ):
        return "BadPriority"
    if len(headers.get(b"apns-collapse-id", b"")) > MAX_COLLAPSE_ID:
        return "BadCollapseId"
    return None


def _bad_payload(headers: Mapping[bytes, bytes], body: bytes) -> str | None:
    push_type = headers.get(b"apns-push-type")
    if len(body) > (MAX_VOIP_PAYLOAD if push_type == b"voip" else MAX_PAYLOAD):
        return "PayloadTooLarge"
    if not body:
        return "PayloadEmpty"
    try:
        document = _aps.decode(body)
        body.decode("utf-8")
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "PayloadEmpty"
    return None if "aps" in document or push_type not in NEEDS_APS else "PayloadEmpty"
