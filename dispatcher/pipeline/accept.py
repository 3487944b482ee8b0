"""Accepting: one transaction in the ledger, then inbox, then home. 202 only after the ledger's commit.

Order ledger, inbox, admit: what fails after the commit is repaired by the reconcile, never lost.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Sequence
from secrets import randbits

from msgspec import Struct

from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.ids import DeliveryRef, make_home
from dispatcher.domain.message import Lane, Message, lane_of
from dispatcher.domain.requests import Accepted, DispatchRequest
from dispatcher.pipeline.admit import admit_home
from dispatcher.pipeline.gather import Gatherer
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.templating import body_of
from dispatcher.ports.homes import Queue
from dispatcher.ports.messages import Acceptance, StoredHome, StoredMessage, Submission, Verdict

HOME_SIZE = 500
WAITING = 20_000
_log = logging.getLogger(__name__)


class Conflict(Exception):
    """The message id is taken by other content."""


class Addressed(Struct, frozen=True, kw_only=True, gc=False):
    """A request with its recipients found."""

    request: DispatchRequest
    user_ids: tuple[str, ...]
    device_ids: dict[str, tuple[str, ...]] = {}


class Acceptor:
    """The door of one process. Requests are gathered per app and lane."""

    def __init__(self, parts: Parts, shards: int) -> None:
        self._parts = parts
        self._shards = shards
        self._turn = randbits(16)
        self._gatherers: dict[tuple[str, Lane, Millis], Gatherer[Addressed, Accepted]] = {}
        self._unmarked: list[int] = []
        self._behind: set[asyncio.Task[None]] = set()

    async def accept(self, app: str, requests: Sequence[DispatchRequest], now: Millis) -> list[Accepted | Exception]:
        """One result a request, in order: accepted, :class:`Conflict`, ``Overflow`` or what the ledger said."""
        addressed = await self.address(app, requests)
        futures: list[asyncio.Future[Accepted] | Exception] = []
        for one in addressed:
            try:
                futures.append(self._gatherer(app, one.request, now).submit(one))
            except Exception as error:  # noqa: BLE001 - the item's own answer
                futures.append(error)
        results: list[Accepted | Exception] = []
        for future in futures:
            if isinstance(future, Exception):
                results.append(future)
                continue
            try:
                results.append(await future)
            except Exception as error:  # noqa: BLE001 - the item's own answer
                results.append(error)
        return results

    def _gatherer(self, app: str, request: DispatchRequest, now: Millis) -> Gatherer[Addressed, Accepted]:
        lane = lane_of(request.klass, request.priority)
        due = request.not_before or 0
        scheduled = due if due > now else 0  # waits in the ledger, seen by nobody; the reconcile admits it on time
        key = (app, lane, scheduled)
        gatherer = self._gatherers.get(key)
        if gatherer is None:

            async def flush(items: Sequence[Addressed]) -> Sequence[Accepted | Exception]:
                try:
                    return await self._flush(app, lane, scheduled, items)
                finally:
                    if scheduled:
                        self._gatherers.pop(key, None)

            gatherer = Gatherer(flush, batch=HOME_SIZE, waiting=WAITING, weigh=lambda item: max(len(item.user_ids), 1))
            self._gatherers[key] = gatherer
        return gatherer

    async def address(self, app: str, requests: Sequence[DispatchRequest]) -> list[Addressed]:
        named = sorted({device for request in requests for device in request.device_ids})
        owners = await self._parts.directory.owners(app, named) if named else {}
        return [_address(request, owners) for request in requests]

    async def _flush(
        self, app: str, lane: Lane, scheduled: Millis, items: Sequence[Addressed]
    ) -> list[Accepted | Exception]:
        now = self._parts.clock()
        self._turn += 1
        home = make_home(now, randbits(17), self._turn % self._shards)
        submissions: list[Submission] = []
        first_of: dict[str, int] = {}
        place = 0
        for item in items:
            request = item.request
            first_of.setdefault(request.message_id, len(submissions))
            message = build_message(app, request, now)
            submissions.append(
                Submission(
                    message=message,
                    content_hash=request.content_hash(),
                    home=home,
                    place=place,
                    index=len(submissions),
                    user_ids=item.user_ids,
                    device_ids=item.device_ids or None,
                    due=max(request.not_before or now, now),
                )
            )
            place += len(item.user_ids)
        verdicts = await self._parts.messages.accept(submissions, now)
        fresh = [one for one, verdict in zip(submissions, verdicts, strict=True) if _is_new(verdict)]
        if fresh and not scheduled:
            await self._admit(home, app, lane, place, fresh, now)
        self._parts.telemetry.gathered("accept", len(items))
        amounts: Counter[str] = Counter()
        for submission in fresh:
            amounts[submission.message.klass] += len(submission.user_ids)
        for klass, amount in amounts.items():
            self._parts.telemetry.accepted(klass, amount)
        return [_answer(one, verdict) for one, verdict in zip(submissions, verdicts, strict=True)]

    async def _admit(
        self, home: int, app: str, lane: Lane, size: int, fresh: Sequence[Submission], now: Millis
    ) -> None:
        stored = StoredHome(
            home=home,
            app=app,
            lane=lane,
            size=size,
            due=min(one.due for one in fresh),
            messages=[_stored(one) for one in fresh],
            settled=frozenset(),
            proven={},
        )
        try:
            await admit_home(stored, self._parts, now)
        except Exception:  # noqa: BLE001 - the ledger has it; the reconcile admits it
            _log.exception("admit failed, left to the reconcile", extra={"home": f"{home:016x}"})
            return
        self._later(self._hint_and_mark(home, Queue("plan", lane)))

    async def _hint_and_mark(self, home: int, queue: Queue) -> None:
        await self._parts.hints([queue])
        self._unmarked.append(home)
        await asyncio.sleep(0.2)
        if self._unmarked:
            homes, self._unmarked = self._unmarked, []
            await self._parts.messages.mark_admitted(homes)

    def _later(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._behind.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._behind.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.warning("work behind an accept failed; the sweep makes up for it", exc_info=task.exception())

    async def close(self) -> None:
        """Waits for what was begun behind answers already given."""
        if self._behind:
            await asyncio.wait(self._behind, timeout=3)


def build_message(app: str, request: DispatchRequest, now: Millis) -> Message:
    """The message as it is stored, with its content encoded once for all phones."""
    starts = max(request.not_before or now, now)
    body = body_of(request.message_id, request.klass, request.notification, request.data, rfc3339(starts))
    return Message(
        app=app,
        message_id=request.message_id,
        klass=request.klass,
        priority=request.priority,
        body=body,
        accepted_at=now,
        expires_at=starts + request.ttl_ms,
        notification=request.notification,
        data=request.data,
        sms_text=request.sms_text,
        collapse_key=request.collapse_key,
        strategy=request.strategy,
        template=request.template,
        params=request.params or None,
        not_before=request.not_before,
        texts=request.texts or None,
        trace=request.trace,
    )


def _address(request: DispatchRequest, owners: dict[str, str]) -> Addressed:
    """One delivery a user, also when several of their devices are named; an unknown device stands for itself."""
    devices: dict[str, list[str]] = {}
    for device_id in request.device_ids:
        devices.setdefault(owners.get(device_id, unknown_user(device_id)), []).append(device_id)
    whole = set(request.user_ids)
    users = (*request.user_ids, *(user for user in devices if user not in whole))
    named = {user: tuple(ids) for user, ids in devices.items() if user not in whole}
    return Addressed(request=request, user_ids=users, device_ids=named)


def unknown_user(device_id: str) -> str:
    """Stands for the user of a device that nobody knows. A space keeps it apart from every real user id."""
    return f"? {device_id}"


def _is_new(verdict: Acceptance | Exception) -> bool:
    return isinstance(verdict, Acceptance) and verdict.verdict is Verdict.NEW


def _answer(submission: Submission, verdict: Acceptance | Exception) -> Accepted | Exception:
    if isinstance(verdict, Exception):
        return verdict
    if verdict.verdict is Verdict.CONFLICT:
        return Conflict(submission.message.message_id)
    return Accepted(
        message_id=submission.message.message_id,
        accepted_at=verdict.accepted_at,
        recipients=verdict.recipients,
        duplicate=verdict.verdict is Verdict.DUPLICATE,
    )


def _stored(submission: Submission) -> StoredMessage:
    return StoredMessage(
        message=submission.message,
        home=submission.home,
        place=submission.place,
        index=submission.index,
        user_ids=submission.user_ids,
        device_ids=submission.device_ids,
        due=submission.due,
        admitted=False,
        recalled=False,
    )


def refs_of(stored: StoredMessage) -> list[DeliveryRef]:
    """The deliveries of a stored message, in order of its users."""
    return [DeliveryRef(stored.home, stored.place + offset) for offset in range(len(stored.user_ids))]
