"""Clearing pushes: after a recall, what APNs and FCM were given is taken off screens again.

Which attempts those are, the journal knows. What was being sent at the moment of the recall is looked at again until
its answer is there. Best effort beyond that: a phone that is off may show the notification until the app is opened.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dispatcher.domain.clock import DAY, MINUTE, SECOND, Millis
from dispatcher.domain.delivery import End, Phase
from dispatcher.domain.device import Profile
from dispatcher.domain.ids import attempt_id
from dispatcher.domain.journal import Entry, Kind, read_entry, write_entry
from dispatcher.domain.outcome import Outcome, RetryLater, Unknown
from dispatcher.domain.paths import VENDOR_PATHS, Path
from dispatcher.pipeline.accept import refs_of
from dispatcher.pipeline.circuit import OUTCOME_NAMES
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.clearings import Clearing, Clearings
from dispatcher.ports.messages import StoredMessage
from dispatcher.ports.provider import Attempt

AT_ONCE = 50
AGAIN: Millis = 2 * SECOND
TRIES = 10
ADMITTED_BY: Millis = 3 * SECOND  #: after its due time a message is in the hot store, or the ledger knows better
#: How long a vendor keeps a clearing push for a phone that is off.
LIFE: Millis = DAY
_LEFT = frozenset({"handed_over", "unknown"})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Shown:
    """What a vendor was given for one track."""

    place: int
    track: int
    path: Path
    step: int
    attempt: int

    @property
    def key(self) -> str:
        return f"{self.place}.{self.track}.{self.path.value}"


async def clear_due(parts: Parts, clearings: Clearings, now: Millis) -> int:
    """Works off recalled messages; how many clearing pushes were handed over or given up."""
    count = 0
    for clearing in await clearings.due(now, AT_ONCE):
        try:
            count += await _clear(clearing, parts, clearings, now)
        except Exception:  # noqa: BLE001 - one message's fault keeps no other on screens
            _log.exception("clearing failed", extra={"message_id": clearing.message_id})
            await _once_more(clearing, clearing.cleared, clearings, now)
    return count


async def _clear(clearing: Clearing, parts: Parts, clearings: Clearings, now: Millis) -> int:
    stored = await parts.messages.find(clearing.app, clearing.message_id)
    if stored is None:
        await clearings.done(clearing)
        return 0
    if not stored.admitted:  # whoever admits it may have read it before the recall
        await clearings.again(clearing, sorted(clearing.cleared), max(stored.due, now) + ADMITTED_BY)
        return 0
    under_way = await _is_under_way(stored, parts, now)  # asked first: what ends meanwhile is in the journal then
    shown, devices = await _what_was_shown(stored, parts)
    work = [one for one in shown if one.key not in clearing.cleared]
    cleared = set(clearing.cleared) | await _send(clearing.app, stored, work, devices, parts, now)
    if under_way or any(one.key not in cleared for one in shown):
        await _once_more(clearing, cleared, clearings, now)
    else:
        await clearings.done(clearing)
    return len(cleared) - len(clearing.cleared)


async def _once_more(clearing: Clearing, cleared: Iterable[str], clearings: Clearings, now: Millis) -> None:
    if clearing.tries + 1 >= TRIES:
        _log.warning("notifications of a recalled message may stay", extra={"message_id": clearing.message_id})
        await clearings.done(clearing)
    else:
        await clearings.again(clearing, sorted(cleared), now + min(AGAIN << clearing.tries, MINUTE))


async def _is_under_way(stored: StoredMessage, parts: Parts, now: Millis) -> bool:
    """Whether some attempt's answer is not there yet. What was admitted while it was being recalled ends here."""
    refs = refs_of(stored)
    states = await parts.homes.states(stored.home, [ref.place for ref in refs])
    missed = [ref for ref in refs if ref.place in states and states[ref.place].end is not End.RECALLED]
    if missed:
        await parts.homes.end(missed, End.RECALLED, now)
        for ref in missed:
            user_id = stored.user_ids[ref.place - stored.place]
            delivery_id = parts.ids.delivery_id(ref, stored.message.app, user_id)
            await parts.inboxes.remove(stored.message.app, user_id, [delivery_id])
    return any(
        track.cursor.phase in {Phase.SENDING, Phase.UNKNOWN} for state in states.values() for track in state.tracks
    )


async def _what_was_shown(stored: StoredMessage, parts: Parts) -> tuple[list[Shown], dict[tuple[int, int], str]]:
    """The latest attempt of each track on each vendor's path that may have reached it; device ids by track."""
    raws = [*await parts.deliveries.journal(stored.home), *await parts.homes.journal_of(stored.home)]
    entries = sorted((read_entry(raw) for raw in dict.fromkeys(raws)), key=lambda entry: entry.at)
    places = range(stored.place, stored.place + len(stored.user_ids))
    shown: dict[str, Shown] = {}
    devices: dict[tuple[int, int], str] = {}
    for entry in entries:
        for index, (place, track) in enumerate(entry.members):
            if place not in places:
                continue
            own = {name: column[index] for name, column in entry.columns.items()}
            if entry.kind is Kind.PLANNED and own.get("device_id"):
                devices[place, track] = own["device_id"]
            elif entry.kind is Kind.OUTCOME and entry.path in VENDOR_PATHS:
                outcome = own.get("outcome") or entry.shared.get("outcome")
                if outcome in _LEFT:
                    step, attempt = own.get("step") or entry.step, own.get("attempt") or entry.attempt
                    one = Shown(place, track, Path(entry.path), step, attempt)
                    shown[one.key] = one
    return list(shown.values()), devices


async def _send(
    app: str,
    stored: StoredMessage,
    work: list[Shown],
    devices: dict[tuple[int, int], str],
    parts: Parts,
    now: Millis,
) -> set[str]:
    """Keys of what is done with: handed over, refused for good, or without a living token."""
    users = sorted({stored.user_ids[one.place - stored.place] for one in work})
    profiles = await parts.profiles.get(app, users) if users else {}
    done: set[str] = set()
    by_path: dict[Path, list[tuple[Shown, Attempt]]] = defaultdict(list)
    for one in work:
        user_id = stored.user_ids[one.place - stored.place]
        attempt = _attempt(app, stored, one, devices.get((one.place, one.track)), user_id, profiles, parts, now)
        if attempt is None:
            done.add(one.key)
        else:
            by_path[one.path].append((one, attempt))
    for path, rows in by_path.items():
        provider = await parts.providers.provider(app, path)
        if provider is None:
            done.update(one.key for one, _ in rows)
            continue
        outcomes: list[Outcome] = []
        for start in range(0, len(rows), provider.limits.batch):
            chunk = [attempt for _, attempt in rows[start : start + provider.limits.batch]]
            outcomes += await provider.send(chunk, now)
        await _note(stored, path, [one for one, _ in rows], outcomes, parts)
        done.update(
            one.key
            for (one, _), outcome in zip(rows, outcomes, strict=True)
            if not isinstance(outcome, RetryLater | Unknown)
        )
    return done


async def _note(stored: StoredMessage, path: Path, rows: list[Shown], outcomes: list[Outcome], parts: Parts) -> None:
    entry = Entry(
        kind=Kind.RECALLED,
        at=parts.clock(),
        members=[(one.place, one.track) for one in rows],
        path=path,
        columns={"clearing": [OUTCOME_NAMES[type(outcome)] for outcome in outcomes]},
    )
    await parts.homes.append_journal([(stored.home, write_entry(entry))])


def _attempt(
    app: str,
    stored: StoredMessage,
    one: Shown,
    device_id: str | None,
    user_id: str,
    profiles: Mapping[str, Profile],
    parts: Parts,
    now: Millis,
) -> Attempt | None:
    """None where the device is another user's by now, or has no token left."""
    profile = profiles.get(user_id)
    device = profile.device(device_id) if profile is not None and device_id is not None else None
    token = device.token(one.path) if device is not None else None
    if device is None or token is None:
        return None
    ref = refs_of(stored)[one.place - stored.place]
    delivery_id = parts.ids.delivery_id(ref, app, user_id)
    return Attempt(
        attempt_id=attempt_id(delivery_id, one.track, one.step, one.attempt, one.path),
        delivery_id=delivery_id,
        user_id=user_id,
        message=stored.message,
        expires_at=now + LIFE,
        device_id=device.device_id,
        platform=device.platform.value,
        token=token,
        priority="normal",
        clear=True,
        epoch=device.epoch,
    )
