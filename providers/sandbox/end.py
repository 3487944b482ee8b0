"""One simulator behind its listeners: logs every request, applies the script, lets the vendor's rules answer."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple, Protocol
from weakref import WeakKeyDictionary

from providers.sandbox.request_log import LoggedRequest, RequestLog
from providers.sandbox.script import ErrorRule, Fault, Script, ScriptDocument
from providers.sandbox.wire.exchange import Answer, Connection, Request, Wire

_log = logging.getLogger(__name__)
STREAMS = 1000


class Subject(NamedTuple):
    """What a request is about. *target* is the token or number that rules match; None: no rule applies."""

    target: str | None
    exempt: bool = False  #: OAuth: no scripted fault at all


class Vendor(Protocol):
    """A vendor's rules, without I/O. The order is: describe, check, then refuse or accept."""

    def describe(self, request: Request) -> Subject:
        """What *request* is about, read as leniently as possible."""

    def check(self, request: Request) -> Answer | None:
        """The vendor's own refusal of a faulty request; None where it is in order."""

    def accept(self, request: Request) -> Answer:
        """Take a request that is in order."""

    def refuse(self, request: Request, rule: ErrorRule) -> Answer:
        """The vendor's words for a scripted error."""

    def delay_s(self, subject: Subject) -> float:
        """Seconds added for exempt requests."""


class End:
    """See ``Receiver``: stands behind the listeners of one vendor."""

    def __init__(
        self,
        vendor: Vendor,
        script: Callable[[], Script],
        log: RequestLog,
        clock: Callable[[], float],
        dice: random.Random,
        first_streams: int | None = None,
    ) -> None:
        self._vendor = vendor
        self._script = script
        self._log = log
        self._clock = clock
        self._dice = dice
        self._first_streams = first_streams
        self._loop = asyncio.get_running_loop()
        self._counts: WeakKeyDictionary[Connection, tuple[Script, int, int]] = WeakKeyDictionary()

    def initial_streams(self) -> int:
        """What the vendor starts with, else what the script says, else plenty."""
        return self._first_streams or self._script().document.streams or STREAMS

    def take(self, request: Request) -> None:
        """Log and answer; a defect of the simulator itself shows as 500 and in the process's log."""
        try:
            self._take(request)
        except Exception:  # noqa: BLE001 - one broken request must not end the connection of all others
            _log.exception("the simulator failed on a request")
            request.connection.answer(request.stream, Answer(500))

    def _take(self, request: Request) -> None:
        script, connection = self._script(), request.connection
        subject = self._vendor.describe(request)
        entry = self._log.append(self._clock(), request, subject.target)
        if subject.exempt:
            exempt = self._vendor.check(request) or self._vendor.accept(request)
            self._give_after(self._vendor.delay_s(subject), entry, request, exempt)
            return
        last = connection.last_stream
        if last is not None and request.stream > last:
            return
        leave_at = self._last_of(script, request) if last is None else None
        if leave_at is not None and not request.multiplexed:
            connection.go_away(leave_at)  # HTTP/1.1 says so in the answer itself
        self._treat(script, subject, entry, request)
        if leave_at is not None and request.multiplexed:
            connection.go_away(leave_at)  # behind an immediate answer: h2 takes nothing more after GOAWAY

    def _treat(self, script: Script, subject: Subject, entry: LoggedRequest, request: Request) -> None:
        if script.drop_rate and self._dice.random() < script.drop_rate:
            return
        rule: ErrorRule | None = None
        answer = self._vendor.check(request)
        if answer is None:
            rule = script.error_for(subject.target) if subject.target is not None else None
            if rule is not None and rule.wire is Fault.DROP:
                return
            answer = self._answer(request, rule)
        self._give_after(script.rule_latency_s(rule), entry, request, answer)

    def _answer(self, request: Request, rule: ErrorRule | None) -> Answer:
        if rule is None:
            return self._vendor.accept(request)
        plain = rule.status is None and rule.reason is None and rule.wire is not None
        answer = self._vendor.accept(request) if plain else self._vendor.refuse(request, rule)
        match rule.wire:
            case None:
                return answer
            case Fault.EMPTY:
                return replace(answer, body=b"")
            case Fault.NO_ID:
                return replace(answer, headers=tuple(item for item in answer.headers if item[0] != b"apns-id"))
            case fault:
                return replace(answer, wire=fault.wire)

    def _last_of(self, script: Script, request: Request) -> int | None:
        """The last stream to name in GOAWAY, if *request* is the n-th of its connection since the script was set.

        No request that was taken lies above it.
        """
        if script.goaway_after is None:
            return None
        of, count, highest = self._counts.get(request.connection, (script, 0, 0))
        if of is not script:
            count, highest = 0, 0
        count, highest = count + 1, max(highest, request.stream)
        self._counts[request.connection] = (script, count, highest)
        return highest if count >= script.goaway_after else None

    def _give_after(self, delay_s: float, entry: LoggedRequest, request: Request, answer: Answer) -> None:
        if delay_s > 0:
            self._loop.call_later(delay_s, self._give, entry, request, answer)
        else:
            self._give(entry, request, answer)

    @staticmethod
    def _give(entry: LoggedRequest, request: Request, answer: Answer) -> None:
        # Noted first: a client may read the log the moment it has its answer.
        if answer.wire in (Wire.WHOLE, Wire.SPLIT):
            entry.answered(answer.status, answer.reason)
        if not request.connection.answer(request.stream, answer):
            entry.unanswered()


class Switch:
    """The script in force of one end; ``put`` replaces it."""

    def __init__(self) -> None:
        self.script = Script()

    def put(self, document: ScriptDocument | None) -> None:
        """None clears it."""
        self.script = Script(document)
