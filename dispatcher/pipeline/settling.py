"""Collects what follows from one claim's work on one home, and writes it in one go."""

from collections import defaultdict
from collections.abc import Sequence

from dispatcher.domain.clock import Millis, rfc3339
from dispatcher.domain.delivery import Cursor, End, Phase
from dispatcher.domain.journal import Entry, Kind, write_entry
from dispatcher.domain.message import Lane
from dispatcher.domain.paths import Path
from dispatcher.pipeline.turns import Decision
from dispatcher.ports.homes import Members, Move, Planned, Queue, Settlement, Wave


class Draft:
    """A settlement in the making."""

    def __init__(self, home: int, app: str, lane: Lane, now: Millis) -> None:
        self.home = home
        self.app = app
        self.lane = lane
        self.now = now
        self._planned: list[Planned] = []
        self._moves: list[Move] = []
        self._ends: dict[int, End] = {}
        self._waves: dict[tuple[Queue, Millis, Cursor], list[tuple[int, int]]] = defaultdict(list)
        self._journal: list[Entry] = []
        self._escalated: list[tuple[int, int, int, Path | None, str]] = []
        self._skips: list[tuple[int, int, int, str, str]] = []

    def plan(self, planned: Planned) -> None:
        self._planned.append(planned)

    def wave(self, place: int, track: int, decision: Decision) -> None:
        """Puts a member into the wave that its decision names, and notes what was skipped on the way."""
        if decision.after.phase is Phase.HELD and decision.reason is not None:
            self._held(place, track, decision)
        if decision.queue is not None:
            self._waves[decision.queue, decision.due, decision.after].append((place, track))
        self._skips += [(place, track, skip.step, skip.path, skip.reason.value) for skip in decision.skipped]

    def move(
        self,
        place: int,
        track: int,
        before: Cursor,
        decision: Decision,
        *,
        path: Path | None = None,
        tried: bool = False,
        attempted_at: Millis | None = None,
    ) -> None:
        """Moves a track on; *path*, *tried* and *attempted_at* tell of the attempt just made."""
        self._moves.append(
            Move(
                place=place,
                track=track,
                before=before,
                after=decision.after,
                until=decision.until,
                path=path,
                tried=tried,
                attempted_at=attempted_at,
            )
        )
        self.wave(place, track, decision)

    def end(self, place: int, end: End) -> None:
        self._ends[place] = end

    def note(self, entry: Entry) -> None:
        self._journal.append(entry)

    def escalated(self, place: int, track: int, before: Cursor, decision: Decision, reason: str) -> None:
        """Notes that a track went on to another step and why; one that stays where it was is none."""
        if decision.after.step != before.step or decision.after.phase is Phase.DONE:
            self._escalated.append((place, track, before.step, decision.path, reason))

    def skip(self, place: int, track: int, step: int, path: str, reason: str, **more: object) -> None:
        """Notes that a path was not taken and why; *step*: as in a cursor."""
        self.note(
            Entry(
                kind=Kind.SKIPPED,
                at=self.now,
                members=[(place, track)],
                step=step,
                shared={"skipped": path, "reason": reason, **more},
            )
        )

    def _held(self, place: int, track: int, decision: Decision) -> None:
        """Notes that a step is put off, until when and why."""
        self.note(
            Entry(
                kind=Kind.SKIPPED,
                at=self.now,
                members=[(place, track)],
                path=decision.path,
                step=decision.after.step,
                shared={"held": True, "reason": decision.reason, "held_until": rfc3339(decision.due)},
            )
        )

    @property
    def noted(self) -> Sequence[Entry]:
        """What was written down, in order."""
        return self._journal

    @property
    def empty(self) -> bool:
        return not (self._planned or self._moves or self._ends or self._waves or self._journal)

    def build(self) -> Settlement:
        """The settlement; escalations and skipped paths become one journal entry each."""
        if self._escalated:
            self._journal.append(
                Entry(
                    kind=Kind.ESCALATED,
                    at=max([self.now, *(entry.at for entry in self._journal)]),  # after the answers that caused them
                    members=[(place, track) for place, track, *_ in self._escalated],
                    columns={
                        "step": [step for _, _, step, _, _ in self._escalated],
                        "path": [path for _, _, _, path, _ in self._escalated],
                        "reason": [reason for *_, reason in self._escalated],
                    },
                )
            )
        if self._skips:
            self._journal.append(
                Entry(
                    kind=Kind.SKIPPED,
                    at=self.now,
                    members=[(place, track) for place, track, *_ in self._skips],
                    columns={
                        "step": [step * 8 for _, _, step, _, _ in self._skips],
                        "skipped": [path for _, _, _, path, _ in self._skips],
                        "reason": [reason for *_, reason in self._skips],
                    },
                )
            )
        return Settlement(
            home=self.home,
            app=self.app,
            lane=self.lane,
            planned=self._planned,
            moves=self._moves,
            ends=self._ends,
            waves=[
                Wave(queue=queue, due=due, members=Members(self.home, cursor, tuple(members)))
                for (queue, due, cursor), members in self._waves.items()
            ],
            journal=[write_entry(entry) for entry in self._journal],
        )
