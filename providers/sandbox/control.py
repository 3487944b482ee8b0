"""The control API: scripts, request logs and the outbox, as plain HTTP with problem+json errors (RFC 9457)."""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

import msgspec

from providers.sandbox.end import STREAMS, Switch
from providers.sandbox.request_log import RequestLog
from providers.sandbox.script import ScriptError, read_script
from providers.sandbox.sms_message import Texts
from providers.sandbox.wire.exchange import Answer, Header, Request

JSON_TYPE: Header = (b"content-type", b"application/json")
PROBLEM_TYPE: Header = (b"content-type", b"application/problem+json")


@dataclass(frozen=True, slots=True)
class Controlled:
    """What the control API reaches of one end."""

    switch: Switch
    log: RequestLog


class ProblemError(Exception):
    """Becomes a problem+json answer."""

    def __init__(self, status: HTTPStatus, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.field = status, code, detail, field

    def answer(self) -> Answer:
        """As RFC 9457 writes it, with our code and the culprit fields beside it."""
        document: dict[str, Any] = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "detail": self.detail,
            "code": self.code,
            "errors": [] if self.field is None else [{"field": self.field, "message": self.detail}],
        }
        return Answer(self.status, (PROBLEM_TYPE,), msgspec.json.encode(document), self.code)


class Control:
    """See ``Receiver``: stands behind the control listener."""

    def __init__(self, ends: Mapping[str, Controlled], texts: Texts) -> None:
        self._ends = ends
        self._texts = texts

    def initial_streams(self) -> int:
        """Plenty."""
        return STREAMS

    def take(self, request: Request) -> None:
        """Always answered at once."""
        try:
            answer = self._route(request)
        except ProblemError as problem:
            answer = problem.answer()
        request.connection.answer(request.stream, answer)

    def _route(self, request: Request) -> Answer:
        parts = urlsplit(request.path)
        match parts.path.split("/"):
            case ["", "healthz"] if request.method == "GET":
                return _json({"status": "ok"})
            case ["", "control", "sms", "outbox"]:
                _allow(request, "GET")
                return self._outbox(_query(parts.query, {"to"}))
            case ["", "control", name, "requests"] if name in self._ends:
                _allow(request, "GET")
                return _json(self._ends[name].log.page(_after(_query(parts.query, {"after"}))))
            case ["", "control", name] if name in self._ends:
                _allow(request, "GET", "PUT", "DELETE")
                return self._script(self._ends[name], request)
        raise ProblemError(HTTPStatus.NOT_FOUND, "not_found", f"no {parts.path} here; ends are {', '.join(self._ends)}")

    def _script(self, end: Controlled, request: Request) -> Answer:
        if request.method == "DELETE":
            end.switch.put(None)
            return Answer(HTTPStatus.NO_CONTENT)
        if request.method == "PUT":
            try:
                end.switch.put(read_script(request.body))
            except ScriptError as error:
                raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_script", str(error), error.field) from None
            except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
                raise ProblemError(HTTPStatus.BAD_REQUEST, "malformed", f"the body is no JSON: {error}") from None
        return _json(end.switch.script.document)

    def _outbox(self, query: Mapping[str, str]) -> Answer:
        texts = list(self._texts.newest_first(query.get("to"), lambda text: text.on_the_phone))
        return _json({"texts": [text.shown() for text in reversed(texts)], "dropped": self._texts.dropped})


def _json(document: Any) -> Answer:
    return Answer(HTTPStatus.OK, (JSON_TYPE,), msgspec.json.encode(document))


def _allow(request: Request, *methods: str) -> None:
    if request.method not in methods:
        detail = f"{request.method} is not possible here; {', '.join(methods)} are"
        raise ProblemError(HTTPStatus.METHOD_NOT_ALLOWED, "method_not_allowed", detail)


def _query(text: str, known: set[str]) -> Mapping[str, str]:
    query = {name: values[-1] for name, values in parse_qs(text, keep_blank_values=True).items()}
    for name in query:
        if name not in known:
            raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown_field", f"unknown parameter {name}", name)
    return query


def _after(query: Mapping[str, str]) -> int:
    text = query.get("after", "0")
    if not text.isdecimal() or not text.isascii():
        raise ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_field", "after is a number from 0", "after")
    return int(text)
