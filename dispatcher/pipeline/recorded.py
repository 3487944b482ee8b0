"""Journals as recorded deliveries: what was planned with which facts, and what each path was seen to do then."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.journal import Kind
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import rung_of
from strategies.catalogue import FINGERPRINT, INDEX
from strategies.facts import Row
from strategies.replay import Evidence, RecordedTrack

_CLASS = INDEX["message.class"]


class LazyEntry(msgspec.Struct, frozen=True, array_like=True):
    """A journal entry whose columns stay unread until they are asked for: planned rows are large."""

    kind: Kind
    at: Millis
    members: list[tuple[int, int]]
    path: Path | None = None
    step: int = 0
    attempt: int = 0
    shared: dict[str, Any] = {}
    columns: dict[str, msgspec.Raw] = {}

    def column(self, name: str) -> list[Any]:
        """One column's values; all None where it is missing."""
        raw = self.columns.get(name)
        return _column(raw) if raw is not None else [None] * len(self.members)


_read = msgspec.msgpack.Decoder(LazyEntry).decode
_column = msgspec.msgpack.Decoder(list[Any]).decode
_rows = msgspec.msgpack.Decoder(list[tuple[Any, ...]]).decode
_KIND_ORDER = {kind: place for place, kind in enumerate(Kind)}

Member = tuple[int, int]
#: By step (as in a cursor): the path and when it was first tried.
Tries = dict[int, tuple[Path, Millis]]


class Happened:
    """What happened to the members of one home, by (place, track)."""

    def __init__(self, journal: Iterable[bytes]) -> None:
        self.tries: dict[Member, Tries] = defaultdict(dict)
        self.proofs: dict[Member, list[tuple[Path | None, Millis, bool]]] = defaultdict(list)
        self.timed_out: set[tuple[int, int, int]] = set()  #: with the rung
        self.planned: list[LazyEntry] = []
        for entry in sorted(map(_read, journal), key=lambda one: (one.at, _KIND_ORDER[one.kind])):
            match entry.kind:
                case Kind.PLANNED:
                    self.planned.append(entry)
                case Kind.ATTEMPTED if entry.path is not None:
                    for member in entry.members:
                        self.tries[member].setdefault(entry.step, (entry.path, entry.at))
                case Kind.SKIPPED if entry.shared.get("joined"):
                    for member in entry.members:  # another message's SMS stands for this one too
                        self.tries[member].setdefault(entry.step, (Path.SMS, entry.at))
                case Kind.OUTCOME:
                    self._forget_refused(entry)
                case Kind.RECEIPT if "event" in entry.columns:  # a carrier's "sent" proves nothing
                    paths, inferred = entry.column("path"), entry.column("inferred")
                    for member, path, guessed in zip(entry.members, paths, inferred, strict=True):
                        self.proofs[member].append((Path(path) if path else None, entry.at, bool(guessed)))
                case Kind.ESCALATED:
                    steps, reasons = entry.column("step"), entry.column("reason")
                    for (place, track), step, reason in zip(entry.members, steps, reasons, strict=True):
                        if reason == "timeout":
                            self.timed_out.add((place, track, rung_of(step)))

    def _forget_refused(self, entry: LazyEntry) -> None:
        """Only what was handed over can be proven; a refused attempt says nothing about receipts."""
        outcomes = entry.column("outcome") if "outcome" in entry.columns else [entry.shared.get("outcome")]
        if len(outcomes) != len(entry.members):
            outcomes = outcomes * len(entry.members)
        for member, outcome in zip(entry.members, outcomes, strict=True):
            if outcome not in {"handed_over", "unknown"}:
                self.tries[member].pop(entry.step, None)

    def proven_after(self, member: Member, *, named_only: bool) -> dict[int, Millis]:
        """By step, how long after its attempt the first proof on its path came. *named_only*: without guesses."""
        tries = self.tries.get(member, {})
        found: dict[int, Millis] = {}
        for path, at, guessed in self.proofs.get(member, ()):
            candidates = [step for step, (tried, since) in tries.items() if tried is path and since <= at]
            if candidates and not (guessed and named_only):
                step = max(candidates, key=lambda one: tries[one][1])
                found.setdefault(step, at - tries[step][1])
        return found


@dataclass(frozen=True, slots=True)
class Recorded:
    """One delivery of a home: when and by which strategy it was planned, its class and its tracks."""

    place: int
    at: Millis
    strategy: str
    klass: str
    tracks: tuple[RecordedTrack, ...]


def recorded(journal: Iterable[bytes]) -> Iterator[Recorded]:
    """The deliveries of one home that were planned with this release's facts."""
    happened = Happened(journal)
    proven = {place for place, _ in happened.proofs}
    found: dict[int, list[RecordedTrack]] = defaultdict(list)
    names: dict[int, str] = {}
    moments: dict[int, Millis] = {}
    for entry in happened.planned:
        if entry.shared.get("catalogue") != FINGERPRINT or "row" not in entry.columns:
            continue
        explanations = entry.shared["explanations"]
        rows: list[Row] = _rows(entry.columns["row"])
        for member, row, which in zip(entry.members, rows, entry.column("explanation"), strict=True):
            moments[member[0]] = entry.at
            names[member[0]] = explanations[which]["strategy"]
            found[member[0]].append(RecordedTrack(row, _evidence(happened, member, member[0] in proven)))
    for place, tracks in found.items():
        yield Recorded(place, moments[place], names[place], str(tracks[0].facts[_CLASS]), tuple(tracks))


def _evidence(happened: Happened, member: Member, settled: bool) -> Mapping[str, Evidence]:
    """What each tried path did. One still waiting when another's proof settled the delivery is no evidence."""
    tries = happened.tries.get(member)
    if not tries:
        return {}
    proofs = happened.proven_after(member, named_only=False)
    found: dict[str, Evidence] = {}
    for step, (path, _) in tries.items():
        if step in proofs:
            found[path] = Evidence(proofs[step])
        elif path not in found and (not settled or (*member, rung_of(step)) in happened.timed_out):
            found[path] = Evidence(None)
    return found
