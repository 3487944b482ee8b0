"""Twilio's Messages resource: send, look up by sid, list by To and DateSent.

Any number is good unless a script says otherwise. Source: twilio.com/docs/messaging/api/message-resource.
"""

import base64
import hmac
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

import msgspec

from providers.sandbox.credentials import SmsCredentials
from providers.sandbox.end import Subject
from providers.sandbox.script import ErrorRule, Script
from providers.sandbox.sms_callbacks import Callbacks
from providers.sandbox.sms_errors import JSON_TYPE, USUAL_CODE, failure, is_delivery_error
from providers.sandbox.sms_message import API_VERSION, Text, Texts, life
from providers.sandbox.wire.exchange import Answer, Request

MAX_BODY = 1600
MAX_VALIDITY_S = 36_000
MAX_PAGE = 1000
_PATH = re.compile(rf"/{API_VERSION}/Accounts/(?P<account>[^/]+)/Messages(?:/(?P<sid>[^/.]+))?(?:\.json)?")
_PUNCTUATION = re.compile(r"[\s().-]")
_PHONE = re.compile(r"\+?\d{3,15}", re.ASCII)


class Twilio:
    """The vendor behind the SMS listener."""

    def __init__(
        self,
        credentials: SmsCredentials,
        texts: Texts,
        callbacks: Callbacks,
        script: Callable[[], Script],
        clock: Callable[[], float],
    ) -> None:
        self._account = credentials.account_sid
        self._from = credentials.from_number
        pair = f"{credentials.account_sid}:{credentials.auth_token}".encode()
        self._basic = b"Basic " + base64.b64encode(pair)
        self._texts = texts
        self._callbacks = callbacks
        self._script = script
        self._clock = clock

    def describe(self, request: Request) -> Subject:
        """The target of a send is its number; look-ups have none, so that no scripted error hits them."""
        if request.method != "POST":
            return Subject(None)
        number = _form(request).get("To")
        return Subject(_plain(number) if number else None)

    def delay_s(self, subject: Subject) -> float:
        """No request is exempt here."""
        return 0.0

    def check(self, request: Request) -> Answer | None:
        """Authentication, path, then the parameters of a send."""
        if not hmac.compare_digest(request.headers().get(b"authorization", b""), self._basic):
            return failure(20003)
        found = _PATH.fullmatch(urlsplit(request.path).path)
        if found is None or found["account"] != self._account:
            return failure(20404)
        if request.method == "GET":
            return None
        if request.method != "POST" or found["sid"] is not None:
            return failure(20004)
        code = self._faulty(_form(request))
        return failure(code) if code else None

    def accept(self, request: Request) -> Answer:
        """A send is queued (201), a GET answered."""
        return self._look_up(request) if request.method == "GET" else self._take(request, None)

    def refuse(self, request: Request, rule: ErrorRule) -> Answer:
        """3xxxx codes are delivery errors: the text is taken (201) and fails later; all others are answered at once."""
        code = int(rule.reason) if rule.reason is not None and rule.reason.isdecimal() else None
        if code is None and rule.status is not None and rule.status < HTTPStatus.BAD_REQUEST:
            return self._take(request, None)
        if code is not None and is_delivery_error(code) and (rule.status or 201) < HTTPStatus.BAD_REQUEST:
            return self._take(request, code)
        usual = USUAL_CODE.get(rule.status or 500, 20500)
        message = rule.reason if code is None else None
        return failure(code or usual, rule.status, rule.retry_after, message)

    def _faulty(self, form: Mapping[str, str]) -> int | None:
        number, sender, body = form.get("To"), form.get("From"), form.get("Body")
        validity, callback = form.get("ValidityPeriod"), form.get("StatusCallback")
        checks = (
            (21604, not number),
            (21211, bool(number) and not _PHONE.fullmatch(_plain(number or ""))),
            (21603, not sender and not form.get("MessagingServiceSid")),
            (21606, bool(sender) and _plain(sender or "") != self._from),
            (21602, not body),
            (21617, len(body or "") > MAX_BODY),
            (90007, validity is not None and not _is_validity(validity)),
            (21609, callback is not None and not _is_address(callback)),
        )
        return next((code for code, wrong in checks if wrong), None)

    def _take(self, request: Request, error_code: int | None) -> Answer:
        form = _form(request)
        sender, service = form.get("From"), form.get("MessagingServiceSid")
        text = Text(
            account_sid=self._account,
            to=_plain(form["To"]),
            sender=_plain(sender) if sender else None,
            service_sid=service,
            body=form["Body"],
            callback=form.get("StatusCallback"),
            created=self._clock(),
            status="accepted" if service else "queued",
        )
        answer = Answer(HTTPStatus.CREATED, (JSON_TYPE,), msgspec.json.encode(text.resource()))
        if text.sender is None:
            text.sender = self._from  # a messaging service picks its sender later
        self._texts.add(text)
        script = self._script()
        validity = int(form["ValidityPeriod"]) if "ValidityPeriod" in form else None
        self._callbacks.follow(text, life(script.receipt, script.receipt_after_s, error_code, validity), script.receipt)
        return answer

    def _look_up(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        found = _PATH.fullmatch(parts.path)
        sid = found["sid"] if found else None
        if sid is not None:
            text = self._texts.get(sid)
            if text is None:
                return failure(20404)
            return Answer(HTTPStatus.OK, (JSON_TYPE,), msgspec.json.encode(text.resource()))
        query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        try:
            page = self._page(parts.path, query)
        except ValueError:
            return failure(20001, HTTPStatus.BAD_REQUEST, message="Invalid filter")
        return Answer(HTTPStatus.OK, (JSON_TYPE,), msgspec.json.encode(page))

    def _page(self, path: str, query: Mapping[str, str]) -> dict[str, Any]:
        size = min(max(int(query.get("PageSize", "50")), 1), MAX_PAGE)
        number = max(int(query.get("Page", "0")), 0)
        on, since, until = (_day(query.get(name)) for name in ("DateSent", "DateSent>", "DateSent<"))
        sender = query.get("From")

        def wanted(text: Text) -> bool:
            day = text.day()
            return (
                (on is None or day == on)
                and (since is None or day >= since)
                and (until is None or day <= until)
                and (sender is None or text.sender == _plain(sender))
            )

        to = query.get("To")
        texts = list(self._texts.newest_first(_plain(to) if to else None, wanted))
        shown = texts[number * size : (number + 1) * size]

        def uri(page: int) -> str:
            return f"{path}?{urlencode({**query, 'PageSize': size, 'Page': page}, quote_via=quote)}"

        return {
            "messages": [text.resource() for text in shown],
            "page": number,
            "page_size": size,
            "start": number * size,
            "end": max(number * size + len(shown) - 1, 0),
            "uri": uri(number),
            "first_page_uri": uri(0),
            "next_page_uri": uri(number + 1) if len(texts) > (number + 1) * size else None,
            "previous_page_uri": uri(number - 1) if number else None,
        }


def _form(request: Request) -> Mapping[str, str]:
    fields = parse_qs(request.body.decode("utf-8", "replace"), keep_blank_values=True)
    return {name: values[-1] for name, values in fields.items()}


def _plain(number: str) -> str:
    return _PUNCTUATION.sub("", number)


def _day(text: str | None) -> date | None:
    return None if text is None else datetime.fromisoformat(text).date()


def _is_validity(text: str) -> bool:
    return text.isdecimal() and 1 <= int(text) <= MAX_VALIDITY_S


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)
