"""One SMS a conversation: who else waits for proof in it, and what one text says for all of them.

Waiting are the user's other open, unproven deliveries with the same collapse key whose ladder still leads to an SMS
now. They join the SMS and share its status; what is dispatched later in the window does not.
"""

from asyncio import gather
from collections import defaultdict
from collections.abc import Mapping

from dispatcher.domain.clock import DAY, Millis
from dispatcher.domain.delivery import DeliveryState, End, Proof
from dispatcher.domain.ids import DeliveryRef, attempt_id, home_created, parse_delivery_id
from dispatcher.domain.message import Message
from dispatcher.domain.paths import Path
from dispatcher.domain.plan import rung_of, step_byte
from dispatcher.pipeline.facts import NO_DEVICE, row
from dispatcher.pipeline.jobs import Job
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.turns import ladder_of
from dispatcher.ports.homes import Contents
from dispatcher.ports.sms_guard import Joiner
from strategies.availability import unavailable
from strategies.engine import step_allowed

#: So many of the user's newest messages are looked at, none older than a day.
LOOKED_AT = 100
LOOKED_BACK: Millis = DAY

#: By language of the user's locale; English for the rest.
_SEVERAL = {"en": "{count} new messages from {title}", "zh": "{title}：{count} 条新消息"}
_SEVERAL_UNTITLED = {"en": "{count} new messages", "zh": "{count} 条新消息"}


async def waiting(job: Job, parts: Parts, now: Millis) -> list[Joiner]:
    """Who joins this job's SMS, oldest first."""
    own = DeliveryRef(job.claim.members.home, job.place)
    entries = await parts.inboxes.newest(job.claim.app, job.recipient.user_id, before=None, limit=LOOKED_AT)
    places: dict[int, dict[int, str]] = defaultdict(dict)
    for entry in reversed(entries):
        ref = parse_delivery_id(entry.delivery_id)
        if ref is not None and ref != own and home_created(ref.home) > now - LOOKED_BACK:
            places[ref.home][ref.place] = entry.delivery_id
    found = await gather(*(_of_home(home, ids, job, parts, now) for home, ids in places.items()))
    return [joiner for joiners in found for joiner in joiners]


async def _of_home(home: int, ids: Mapping[int, str], job: Job, parts: Parts, now: Millis) -> list[Joiner]:
    states = await parts.homes.states(home, list(ids))
    open_ones = [place for place, state in states.items() if state.end is End.OPEN and state.proof is Proof.NONE]
    contents = await parts.homes.contents(home, open_ones) if open_ones else None
    if contents is None:
        return []
    joiners = []
    for place in open_ones:
        recipient = contents.recipients.get(place)
        if recipient is None or recipient.user_id != job.recipient.user_id:
            continue
        message = contents.messages[recipient.message]
        if message.collapse_key != job.message.collapse_key or now >= message.expires_at:
            continue
        at = _sms_ahead(place, message, contents, states[place], job, now)
        if at is not None:
            track, step = at
            attempt = attempt_id(ids[place], track, step, 0, Path.SMS)
            joiners.append(Joiner(message_id=message.message_id, attempt_id=attempt))
    return joiners


def _sms_ahead(
    place: int, message: Message, contents: Contents, state: DeliveryState, job: Job, now: Millis
) -> tuple[int, int] | None:
    """Track and step of the SMS that a delivery would come to, if its turn were now; None where there is none."""
    plan = contents.plans.get(place)
    if plan is None:
        return None
    for index, (own, track) in enumerate(zip(plan.tracks, state.tracks, strict=False)):
        ladder = ladder_of(plan.ladders[own.ladder])
        if ladder.sms is None or not ladder.sms.coalesce_ms:
            continue
        device = (job.profile.device(own.device_id) if own.device_id else None) or NO_DEVICE
        line = job.known.line(job.recipient.user_id, own.device_id)
        facts = row(message, job.profile, device, line, job.shared, now, budget=ladder.sms.budget)
        if unavailable(Path.SMS, facts) is not None:
            return None
        for rung in range(rung_of(track.cursor.step), len(ladder.steps)):
            paths = ladder.steps[rung].paths
            if Path.SMS in paths and step_allowed(ladder, rung, facts)[0]:
                return index, step_byte(rung, paths.index(Path.SMS))
    return None


def text_for(message: Message, others: int, locale: str | None) -> str:
    """What the SMS says: the dispatch's own text, else title and body; where it stands for *others* too, how many wait.

    The same words for the same count, whenever asked: a look-up asks the carrier for the words that left.
    """
    shown = message.notification or {}
    title, body = shown.get("title") or "", shown.get("body") or ""
    if not others:
        written = f"{title}: {body}" if title and body else title or body
        return message.sms_text or written or "You have a new message."
    language = (locale or "").replace("_", "-").partition("-")[0].lower()
    templates = _SEVERAL if title else _SEVERAL_UNTITLED
    words = templates.get(language, templates["en"]).format(count=others + 1, title=title)
    return f"{words}: {message.sms_text}" if message.sms_text else words
