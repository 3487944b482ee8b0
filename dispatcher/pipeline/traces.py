"""One connected trace a message: the request that brought it, then its planning, attempts, receipts and escalations.

Spans are made of what a stage wrote down anyway, after it settled. Their ids follow from the message's trace, so that
nothing is handed over between processes but the message itself: a delivery's plan is the parent of its attempts, an
attempt that of its provider's answer and of the receipts it is credited with.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import DeliveryRef, attempt_id
from dispatcher.domain.journal import Entry, Kind
from dispatcher.domain.message import Message
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import rung_of
from dispatcher.domain.receipt import Seen
from dispatcher.domain.trace import Span, SpanKind, TraceContext, attributes, nanos, read_traceparent, unpack
from dispatcher.pipeline.parts import PhoneParts
from dispatcher.pipeline.settling import Draft
from dispatcher.ports.homes import Contents
from dispatcher.ports.tracing import Tracing

#: Flushes of receipts whose messages are looked up at once; beyond it their spans are dropped.
LOOK_UPS = 64
#: Answers that are no fault of anybody's.
_WELL = frozenset({"handed_over", "not_connected"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Begun:
    """A request under way. *clock_ns*: when it began, by a clock that only goes forward."""

    context: TraceContext
    parent: TraceContext | None
    at: Millis
    clock_ns: int


class Traces:
    """Tells of traced messages. *dice*: so many random bits; *ratio*: of requests without a trace, how many get one."""

    def __init__(self, tracing: Tracing, *, ratio: float, dice: Callable[[int], int]) -> None:
        self._tracing = tracing
        self._ratio = ratio
        self._dice = dice
        self._behind: set[asyncio.Task[None]] = set()

    # The request

    def begin(self, traceparent: str, at: Millis, clock_ns: int) -> Begun | None:
        """A request's span; None where its caller decided not to record, or the dice did."""
        incoming = read_traceparent(traceparent)
        if incoming is not None:
            context = TraceContext(incoming.context.trace_id, self._dice(64) or 1)
            return (
                Begun(context=context, parent=incoming.context, at=at, clock_ns=clock_ns) if incoming.sampled else None
            )
        if self._dice(32) >= self._ratio * 2**32:
            return None
        return Begun(
            context=TraceContext(self._dice(128) or 1, self._dice(64) or 1), parent=None, at=at, clock_ns=clock_ns
        )

    def answered(self, begun: Begun, method: str, route: str, status: int, clock_ns: int, app: str | None) -> None:
        """The request's end."""
        started = nanos(begun.at)
        self._tracing.record(
            Span(
                name=f"{method} {route}",
                context=begun.context,
                parent=begun.parent,
                kind=SpanKind.SERVER,
                started=started,
                ended=started + max(clock_ns - begun.clock_ns, 0),
                attributes=attributes(method=method, route=route, status=status, app=app),
                error=str(status) if status >= 500 else None,
            )
        )

    # The stages

    def worked(self, draft: Draft, contents: Contents, parts: PhoneParts, ended: Millis) -> None:
        """What one stage did to one home, once it is settled."""
        if any(message.trace for message in contents.messages.values()):
            for span in _of_draft(draft, contents, parts, ended):
                self._tracing.record(span)

    # Receipts

    def received(self, seen: Sequence[Seen], parts: PhoneParts) -> None:
        """Tells of receipts behind their answer: whether their messages are traced stands in their homes."""
        if not seen or len(self._behind) >= LOOK_UPS:
            return
        task = asyncio.get_running_loop().create_task(self._receipts(seen, parts))
        self._behind.add(task)
        task.add_done_callback(self._told)

    def _told(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("spans of receipts were lost", exc_info=task.exception())

    async def _receipts(self, seen: Sequence[Seen], parts: PhoneParts) -> None:
        by_home: dict[int, list[Seen]] = defaultdict(list)
        for one in seen:
            by_home[one.delivery.home].append(one)
        for home, events in by_home.items():
            places = sorted({one.delivery.place for one in events})
            contents = await parts.homes.contents(home, places)
            states = await parts.homes.states(home, places) if contents is not None else {}
            for one in events:
                place, at = one.delivery.place, one.attempted_at
                if contents is not None and place in contents.recipients:
                    message: Message | None = contents.messages[contents.recipients[place].message]
                else:
                    message = await _archived(one.delivery, parts)
                state = states.get(place)
                if at is None and state is not None and one.track < len(state.tracks):
                    at = state.tracks[one.track].attempted_at if state.tracks[one.track].path == one.path else None
                root = unpack(message.trace) if message is not None else None
                if message is not None and root is not None:
                    self._tracing.record(_receipt(root, message, one, at))

    async def close(self) -> None:
        """Sends what waits, as far as a moment allows."""
        if self._behind:
            await asyncio.wait(self._behind, timeout=1)
        await self._tracing.close()


async def _archived(ref: DeliveryRef, parts: PhoneParts) -> Message | None:
    rows = await parts.deliveries.of_message(ref.home, ref.place, 1)
    stored = await parts.messages.find(rows[0].app, rows[0].message_id) if rows else None
    return stored.message if stored is not None else None


def _plan_of(root: TraceContext, home: int, place: int) -> TraceContext:
    return root.child("plan", home, place)


def _attempt_of(root: TraceContext, home: int, place: int, track: int, path: Path, started: Millis) -> TraceContext:
    """By when its request left: so a track's state knows its latest attempt's span too."""
    return root.child("attempt", home, place, track, path.value, started)


def _receipt(root: TraceContext, message: Message, one: Seen, attempted_at: Millis | None) -> Span:
    ref = one.delivery
    parent = _plan_of(root, ref.home, ref.place)
    if one.path is not None and attempted_at is not None:
        parent = _attempt_of(root, ref.home, ref.place, one.track, one.path, attempted_at)
    return Span(
        name=f"receipt {one.event}",
        context=root.child("receipt", ref.home, ref.place, one.track, one.event, one.at),
        parent=parent,
        kind=SpanKind.SERVER,
        started=nanos(one.at),
        ended=nanos(one.at),
        attributes=attributes(
            **_named(message), path=one.path, event=one.event, confirmed=True if one.confirmed else None
        ),
    )


def _named(message: Message) -> dict[str, object]:
    return {"app": message.app, "message_id": message.message_id, "class": message.klass}


def _of_draft(draft: Draft, contents: Contents, parts: PhoneParts, ended: Millis) -> Iterator[Span]:
    asked: dict[tuple[int, int], Millis] = {}
    for entry in draft.noted:
        for index, (place, track) in enumerate(entry.members):
            if entry.kind is Kind.ATTEMPTED:
                asked[place, track] = entry.at
                continue
            member = _Member.of(entry, index, place, track, draft, contents, parts)
            if member is None:
                continue
            if entry.kind is Kind.PLANNED and track == 0:
                yield member.planned(ended)
            elif entry.kind is Kind.SETTLED:
                yield member.planned(ended, state=member.told.get("state"), reason=member.told.get("reason"))
            elif entry.kind is Kind.OUTCOME:
                yield from member.tried(asked.get((place, track), entry.at), ended)
            elif entry.kind is Kind.ESCALATED:
                yield member.escalated()


class _Member:
    """One member of an entry, of a message that is traced."""

    def __init__(
        self, entry: Entry, index: int, ref: DeliveryRef, track: int, draft: Draft, message: Message, root: TraceContext
    ) -> None:
        self._entry, self._ref, self._track, self._draft = entry, ref, track, draft
        self._message, self._root = message, root
        own = {name: column[index] for name, column in entry.columns.items() if column[index] is not None}
        self.told = {**entry.shared, **own}
        self.delivery_id = ""

    @classmethod
    def of(
        cls, entry: Entry, index: int, place: int, track: int, draft: Draft, contents: Contents, parts: PhoneParts
    ) -> "_Member | None":
        recipient = contents.recipients.get(place)
        message = contents.messages.get(recipient.message) if recipient is not None else None
        root = unpack(message.trace) if message is not None else None
        if recipient is None or message is None or root is None:
            return None
        ref = DeliveryRef(draft.home, place)
        member = cls(entry, index, ref, track, draft, message, root)
        member.delivery_id = parts.ids.delivery_id(ref, draft.app, recipient.user_id)
        return member

    def planned(self, ended: Millis, **more: object) -> Span:
        entry, place = self._entry, self._ref.place
        which = self.told.get("explanation")
        why = entry.shared["explanations"][which] if which is not None else {}
        tracks = sum(1 for member, _ in entry.members if member == place) if which is not None else None
        return Span(
            name="plan",
            context=_plan_of(self._root, self._ref.home, place),
            parent=self._root,
            kind=SpanKind.CONSUMER,
            started=nanos(entry.at),
            ended=nanos(ended),
            attributes=attributes(
                **_named(self._message),
                lane=self._draft.lane,
                delivery_id=self.delivery_id,
                tracks=tracks,
                together=len(entry.members),
                strategy=why.get("strategy"),
                version=why.get("version"),
                rule=why.get("rule"),
                **more,
            ),
        )

    def tried(self, asked: Millis, ended: Millis) -> Iterator[Span]:
        """An attempt from its claim to its settlement, and in it the provider's part of it."""
        entry, ref = self._entry, self._ref
        if entry.path is None:
            return
        outcome, reason = str(self.told.get("outcome")), self.told.get("reason")
        context = _attempt_of(self._root, ref.home, ref.place, self._track, entry.path, asked)
        attempt = 0 if entry.path is Path.SMS else entry.attempt  # a text keeps its id through retries
        described = attributes(
            **_named(self._message),
            lane=self._draft.lane,
            delivery_id=self.delivery_id,
            attempt_id=attempt_id(self.delivery_id, self._track, entry.step, attempt, entry.path),
            path=entry.path,
            step=rung_of(entry.step) + 1,
            attempt=entry.attempt,
            together=len(entry.members),
            outcome=outcome,
            reason=reason,
        )
        error = None if outcome in _WELL else str(reason or outcome)
        yield Span(
            name=f"send {entry.path.value}",
            context=context,
            parent=_plan_of(self._root, ref.home, ref.place),
            kind=SpanKind.CONSUMER,
            started=nanos(min(self._draft.now, asked)),
            ended=nanos(max(ended, entry.at)),
            attributes=described,
            error=error,
        )
        yield Span(
            name=f"{entry.path.value} request",
            context=self._root.child("request", context.span_id),
            parent=context,
            kind=SpanKind.CLIENT,
            started=nanos(asked),
            ended=nanos(entry.at),
            attributes=attributes(app=self._draft.app, path=entry.path, outcome=outcome, reason=reason),
            error=error,
        )

    def escalated(self) -> Span:
        entry, ref = self._entry, self._ref
        at, step = entry.at, int(self.told.get("step", entry.step))
        path = self.told.get("path")
        return Span(
            name="escalate",
            context=self._root.child("escalate", ref.home, ref.place, self._track, step, at),
            parent=_plan_of(self._root, ref.home, ref.place),
            kind=SpanKind.INTERNAL,
            started=nanos(at),
            ended=nanos(at),
            attributes=attributes(
                **_named(self._message),
                delivery_id=self.delivery_id,
                step=rung_of(step) + 1,
                path=path,
                reason=self.told.get("reason"),
            ),
        )
