"""Teaching: what was archived just now goes into the histories of its devices. Best effort, within a budget a turn."""

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.paths import Path
from dispatcher.pipeline.learning import Ending, endings, lesson
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.learning import Lesson
from dispatcher.ports.messages import SettledDelivery

#: So many deliveries teach in one turn of the archiver: a few percent of a core. Of a flood a sample is enough.
LESSONS_A_TURN = 1_000
_PROOFS = {proof.name.lower(): proof for proof in Proof}
_log = logging.getLogger(__name__)
_tracks = msgspec.json.Decoder(list[dict[str, Any]]).decode


class Budget:
    """How many more deliveries may teach in this turn."""

    def __init__(self, left: int = LESSONS_A_TURN) -> None:
        self.left = left


async def teach(rows: Sequence[SettledDelivery], parts: Parts, budget: Budget, now: Millis) -> None:
    """Takes lessons from settled deliveries. Whatever goes wrong costs lessons, never the archive."""
    homes = _sample(rows, budget)
    if not homes:
        return
    try:
        journals = await parts.deliveries.journals(sorted(homes))
        for app, lessons in (await _lessons(homes, journals, parts)).items():
            await parts.learning.teach(app, lessons, now)
    except Exception:  # noqa: BLE001 - learning fails open: the archive goes on without it
        _log.warning("what was archived taught nothing", extra={"deliveries": len(rows)}, exc_info=True)


def _sample(rows: Sequence[SettledDelivery], budget: Budget) -> dict[int, list[SettledDelivery]]:
    """Whole homes, for their journals are read anyway; those planned by nobody teach nothing."""
    homes: dict[int, list[SettledDelivery]] = defaultdict(list)
    for row in rows:
        if budget.left <= 0 and row.ref.home not in homes:
            continue
        if row.strategy is not None and row.user_id:
            homes[row.ref.home].append(row)
            budget.left -= 1
    return homes


async def _lessons(
    homes: Mapping[int, Sequence[SettledDelivery]], journals: Mapping[int, Iterable[bytes]], parts: Parts
) -> dict[str, list[Lesson]]:
    results: dict[tuple[str, str, str, Path], list[Ending]] = defaultdict(list)
    for home, rows in homes.items():
        for app, user_id, device_id, found in _of_home(rows, journals.get(home, ())):
            for path, ending in found:
                results[app, user_id, device_id, path].append(ending)
    users: dict[str, set[str]] = defaultdict(set)
    for app, user_id, _, _ in results:
        users[app].add(user_id)
    profiles = {app: await parts.profiles.get(app, sorted(names)) for app, names in users.items()}
    lessons: dict[str, list[Lesson]] = defaultdict(list)
    for (app, user_id, device_id, path), ended in results.items():
        lessons[app].append(lesson(user_id, device_id, path, profiles[app].get(user_id), ended))
    return lessons


def _of_home(
    rows: Sequence[SettledDelivery], journal: Iterable[bytes]
) -> Iterator[tuple[str, str, str, list[tuple[Path, Ending]]]]:
    tracks = {row.ref.place: _tracks(row.tracks) for row in rows}
    ended: dict[int, tuple[End, Mapping[int, Proof]]] = {
        row.ref.place: (
            row.end,
            {index: _PROOFS[track["proof"]] for index, track in enumerate(tracks[row.ref.place])},
        )
        for row in rows
    }
    owners = {row.ref.place: row for row in rows}
    for (place, track), found in endings(journal, ended).items():
        if found and track < len(tracks[place]):
            row = owners[place]
            yield row.app, row.user_id, tracks[place][track]["device_id"] or "", found
