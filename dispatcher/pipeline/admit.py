"""Admitting a home from the ledger's truth: the first time, by the reconcile, or after the hot store was lost."""

from collections.abc import Mapping

from dispatcher.domain.clock import Millis
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.device import Profile
from dispatcher.domain.ids import NOBODY, DeliveryRef
from dispatcher.domain.message import Message
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.templating import VARIANT, localised, variant_of
from dispatcher.ports.homes import Admission, Ended, Recipient
from dispatcher.ports.messages import StoredHome, StoredMessage

UNKNOWN_PREFIX = "? "


class Localised:
    """A home's messages by index; of one with a template a variant for each locale that a recipient reads."""

    def __init__(self, stored: StoredHome, profiles: Mapping[str, Profile]) -> None:
        self._profiles = profiles
        self.messages: dict[int, Message] = {
            message.index: message.message for message in stored.messages if not message.message.texts
        }

    def index(self, stored: StoredMessage, user_id: str) -> int:
        """Under which index the home holds what this user reads."""
        texts = stored.message.texts
        if not texts:
            return stored.index
        variant = variant_of(texts, self._profiles.get(user_id))
        index = stored.index + variant * VARIANT
        if index not in self.messages:
            self.messages[index] = localised(stored.message, texts[variant])
        return index

    def message(self, stored: StoredMessage, user_id: str) -> Message:
        return self.messages[self.index(stored, user_id)]


async def localise(stored: StoredHome, parts: Parts) -> Localised:
    """Reads recipients' locales where a message has a template; others cost nothing."""
    users = {user_id for message in stored.messages if message.message.texts for user_id in message.user_ids}
    profiles = await parts.profiles.get(stored.app, sorted(users)) if users else {}
    return Localised(stored, profiles)


async def admit_home(stored: StoredHome, parts: Parts, now: Millis) -> None:
    """Inbox entries first, then payloads and plan wave. Safe to repeat: known entries keep their seq.

    What was recalled or proven before stands there with nothing left to do: it is archived, never planned.
    """
    local = await localise(stored, parts)
    entries: list[tuple[str, str, bytes]] = []
    positions: dict[int, int] = {}
    rows: list[tuple[int, int, str, tuple[str, ...] | None]] = []
    ended: dict[int, Ended] = {}
    marks: list[tuple[str, Proof, tuple[str]]] = []
    for message in stored.messages:
        for offset, user_id in enumerate(message.user_ids):
            place = message.place + offset
            if place in stored.settled:
                continue
            proof, path, at = stored.proven.get(place, (Proof.NONE, None, None))
            gone = message.recalled or place in stored.erased or user_id == NOBODY
            if gone or proof:
                end = End.RECALLED if gone else End.CONFIRMED
                ended[place] = Ended(end=end, proof=proof, confirmed_by=path, confirmed_at=at)
            if not gone and not user_id.startswith(UNKNOWN_PREFIX):
                delivery_id = parts.ids.delivery_id(DeliveryRef(stored.home, place), stored.app, user_id)
                positions[place] = len(entries)
                entries.append((user_id, delivery_id, local.message(message, user_id).body))
                if proof:
                    marks.append((user_id, proof, (delivery_id,)))
            named = (message.device_ids or {}).get(user_id)
            whose = NOBODY if place in stored.erased else user_id
            rows.append((place, local.index(message, user_id), whose, tuple(named) if named and whose else None))
    if not rows:
        return
    seqs = await parts.inboxes.append(stored.app, entries, now) if entries else []
    if marks:  # what is proven is replayed to nobody
        await parts.inboxes.mark_many(stored.app, marks)
    placed = {place: seqs[position] for place, position in positions.items()}
    recipients = [
        Recipient(
            place=place,
            message=index,
            user_id=user_id,
            seq=placed.get(place, (0, 0))[0],
            prev_seq=placed.get(place, (0, 0))[1],
            devices=devices,
        )
        for place, index, user_id, devices in rows
    ]
    await parts.homes.admit(
        Admission(
            home=stored.home,
            app=stored.app,
            lane=stored.lane,
            messages=local.messages,
            recipients=recipients,
            due=max(stored.due, now),
            size=stored.size,
            ended=ended,
        ),
        now,
    )
