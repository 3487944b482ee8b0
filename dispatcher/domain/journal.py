"""The journal: one columnar entry per stage and wave; timelines, learning and simulation are read from it.

An entry tells what happened at one moment to many (place, track) members of one home. What all members share stands
once in ``shared``; what differs stands in ``columns``, one value per member.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import Proof
from dispatcher.domain.paths import Path
from dispatcher.domain.receipt import EVENT_NAMES, EVENTS


class Kind(StrEnum):
    """What a timeline can show. ``accepted`` comes from the ledger's message, not from an entry."""

    ACCEPTED = "accepted"
    PLANNED = "planned"
    ATTEMPTED = "attempted"
    OUTCOME = "outcome"
    RECEIPT = "receipt"
    ESCALATED = "escalated"
    SKIPPED = "skipped"
    SETTLED = "settled"
    RECALLED = "recalled"


#: Of one moment, what comes first: the ledger keeps entries by a hash, not by when they were written.
_STAGE = {
    kind: stage
    for stage, kind in enumerate(
        (
            Kind.ACCEPTED,
            Kind.PLANNED,
            Kind.ATTEMPTED,
            Kind.OUTCOME,
            Kind.RECEIPT,
            Kind.ESCALATED,
            Kind.SKIPPED,
            Kind.RECALLED,
            Kind.SETTLED,
        )
    )
}


#: In outcomes: ``[[class, platform, strategy, version], ...]`` once in ``shared``; which of them a member is, in a
#: column of this name where there are several. For figures; a timeline does not show it.
SORTS = "of"


class Entry(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One columnar entry. ``step`` and ``attempt`` are those the members stood at when it happened."""

    kind: Kind
    at: Millis
    members: list[tuple[int, int]]
    path: Path | None = None
    step: int = 0
    attempt: int = 0
    shared: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Entry).decode


def write_entry(entry: Entry) -> bytes:
    return _encode(entry)


def without_devices(entry: Entry, places: Collection[int]) -> Entry:
    """A plan forgets whose devices it was at *places*: what remains of it tells of nobody. Others stay as they are."""
    devices = entry.columns.get("device_id")
    if entry.kind is not Kind.PLANNED or devices is None or not any(place in places for place, _ in entry.members):
        return entry
    blanked = [None if place in places else device for (place, _), device in zip(entry.members, devices, strict=True)]
    return msgspec.structs.replace(entry, columns={**entry.columns, "device_id": blanked})


def read_entry(data: bytes) -> Entry:
    return _decode(data)


_OUTCOME = msgspec.msgpack.encode(Kind.OUTCOME)


def is_outcome(data: bytes) -> bool:
    """Whether an entry tells what a provider answered, seen without decoding it: the kind is its first member."""
    return data[1 : 1 + len(_OUTCOME)] == _OUTCOME


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEvent:
    """One entry seen by one member."""

    at: Millis
    kind: Kind
    track: int
    path: Path | None
    step: int
    attempt: int
    detail: Mapping[str, Any] = field(default_factory=dict)


def events_of(entries: Sequence[Entry], place: int) -> list[JournalEvent]:
    """What happened to one delivery, in order of time; entries of one moment in the order of their stages."""
    found = []
    for entry in entries:
        for index, (member_place, track) in enumerate(entry.members):
            if member_place != place:
                continue
            own = {name: column[index] for name, column in entry.columns.items() if column[index] is not None}
            own.pop(SORTS, None)
            path = Path(own.pop("path")) if "path" in own else entry.path
            found.append(
                JournalEvent(
                    at=own.pop("at", entry.at),
                    kind=entry.kind,
                    track=track,
                    path=path,
                    step=own.pop("step", entry.step),
                    attempt=own.pop("attempt", entry.attempt),
                    detail={**{name: value for name, value in entry.shared.items() if name != SORTS}, **own},
                )
            )
    return sorted(found, key=lambda event: (event.at, _STAGE[event.kind]))


def receipt_entry(
    at: Millis, rows: Sequence[tuple[int, int, Proof, Path | None, bool, bool]], source: str | None = None
) -> Entry:
    """Receipts that changed something. Row: place, track, event, via, inferred, confirmed."""
    return Entry(
        kind=Kind.RECEIPT,
        at=at,
        members=[(row[0], row[1]) for row in rows],
        shared={"source": source} if source else {},
        columns={
            "event": [EVENT_NAMES[row[2]] for row in rows],
            "path": [row[3] for row in rows],
            "inferred": [row[4] or None for row in rows],
            "confirmed": [row[5] or None for row in rows],
        },
    )


def carrier_entry(at: Millis, place: int, track: int, status: str, error: str | None = None) -> Entry:
    """A carrier's status that proves nothing: ``sent``, ``undelivered`` ... It has no ``event``. *error*: its code."""
    return Entry(
        kind=Kind.RECEIPT,
        at=at,
        members=[(place, track)],
        path=Path.SMS,
        shared={"source": f"carrier:{status}", "status": status, **({"error": error} if error else {})},
    )


def proven(data: bytes) -> Mapping[int, tuple[Proof, Path | None, Millis]]:
    """Places whose delivery an entry shows as confirmed, with proof, path and moment."""
    entry = _decode(data)
    if entry.kind is not Kind.RECEIPT or "event" not in entry.columns:
        return {}
    rows: dict[int, tuple[Proof, Path | None, Millis]] = {}
    paths = entry.columns.get("path", [])
    confirmed = entry.columns.get("confirmed", [])
    for index, (place, _track) in enumerate(entry.members):
        if confirmed[index]:
            path = paths[index]
            rows[place] = (EVENTS[entry.columns["event"][index]], Path(path) if path else None, entry.at)
    return rows
