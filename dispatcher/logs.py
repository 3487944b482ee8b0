"""Structured logs: the sentence never varies, identifiers are fields, and nothing secret gets through.

``log.warning("the throttle failed open", extra={"key": key})`` becomes one JSON object a line.
"""

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import msgspec

#: Fields whose value never shows, wherever they come from.
HIDDEN_FIELDS = frozenset(
    {
        "token",
        "device_token",
        "push_token",
        "phone",
        "to_number",
        "password",
        "secret",
        "authorization",
        "api_key",
        "cookie",
    }
)
_MASKS: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), "***"),  # a JWT
    (re.compile(r"(?<=://)([^/\s:@]*):[^/\s@]+@"), r"\1:***@"),  # a password in a URL
    (re.compile(r"(?i)\b((?:api_)?(?:key|token|secret|password|signature)=)[^&\s\"']+"), r"\1***"),
    (re.compile(r"(?<![\w+])\+[1-9]\d{6,14}(?!\d)"), "+***"),  # an E.164 number
    (re.compile(r"\b[0-9a-fA-F]{60,}\b"), "***"),  # an APNs token
    (re.compile(r"[\w-]{11,}:[\w-]{60,}"), "***"),  # an FCM registration token
    (re.compile(r"\b[\w-]{80,}\b"), "***"),
)
_PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def mask(text: str) -> str:
    """*text* without bearer texts, tokens, passwords and phone numbers."""
    for pattern, shown in _MASKS:
        text = pattern.sub(shown, text)
    return text


def _masked(name: str, value: Any) -> Any:
    if name.lower() in HIDDEN_FIELDS:
        return "***"
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {str(key): _masked(str(key), member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked("", member) for member in value]
    return mask(str(value))


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, event, then the fields."""

    def __init__(self, process: str) -> None:
        super().__init__()
        self._process = process

    def fields(self, record: logging.LogRecord) -> dict[str, Any]:
        """The record's own fields, masked."""
        return {name: _masked(name, value) for name, value in vars(record).items() if name not in _PLAIN}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        shown: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "process": self._process,
            "logger": record.name,
            "event": mask(record.getMessage()),
            **self.fields(record),
        }
        if record.exc_info:
            shown["error"] = mask(self.formatException(record.exc_info))
        return msgspec.json.encode(shown).decode()


class TextLines(JsonLines):
    """The same for eyes."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, and a traceback where there is one."""
        at = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{name}={value}" for name, value in self.fields(record).items())
        line = f"{at} {record.levelname[:4]} {self._process} {mask(record.getMessage())} {fields}".rstrip()
        return f"{line}\n{mask(self.formatException(record.exc_info))}" if record.exc_info else line


def set_up_logs(process: str, *, level: str = "info", style: str = "json") -> None:
    """Sends all logging of this process to stderr, masked, and errors that nobody caught with it."""
    out = logging.StreamHandler(sys.stderr)
    out.setFormatter(TextLines(process) if style == "text" else JsonLines(process))
    root = logging.getLogger()
    root.handlers[:] = [out]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "hpack", "h2", "twilio.http_client", "asyncio", "urllib3"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(capture=True)
    sys.excepthook = _uncaught
    threading.excepthook = _uncaught_in_thread


_log = logging.getLogger("pushpath.uncaught")


def _uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    _log.critical("an error was not caught", exc_info=(kind, error, trace))


def _uncaught_in_thread(found: threading.ExceptHookArgs) -> None:
    if found.exc_value is not None and not issubclass(found.exc_type, SystemExit):
        _log.critical("an error was not caught", exc_info=(found.exc_type, found.exc_value, found.exc_traceback))


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Logs what escapes from tasks and callbacks of *loop*."""
    loop.set_exception_handler(_uncaught_in_loop)


def _uncaught_in_loop(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    trace = (type(error), error, error.__traceback__) if error is not None else None
    _log.error("an error was not caught in the loop", exc_info=trace, extra={"context": str(context.get("message"))})
