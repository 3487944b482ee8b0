"""After the scenes: what the simulators logged, held against what Pushpath says."""

from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qs

from dispatcher.cli.demo.board import Act, Check
from dispatcher.cli.demo.scenes import ids_in
from dispatcher.cli.demo.stage import Stage

Entry = Mapping[str, Any]


async def examine(stage: Stage, acts: Sequence[Act]) -> list[Check]:
    """All checks, in the order of the scenes."""
    people, simulators = stage.people, stage.simulators
    apns = await simulators.requests("apns")
    fcm = await simulators.requests("fcm")
    sms = [entry for entry in await simulators.requests("sms") if entry["method"] == "POST"]
    first, second, third, fourth, fifth, sixth = (act.message_id for act in acts)

    def pushes(end: str, message_id: str, token: str | None = None) -> list[Entry]:
        log = apns if end == "apns" else fcm
        return [
            entry
            for entry in log
            if ids_in(end, entry).get("message_id") == message_id and token in {None, entry["target"]}
        ]

    async def texts(message_id: str, user_id: str) -> list[Entry]:
        state = await stage.sender.state(message_id)
        ids = [each["delivery_id"] for each in state["deliveries"] if each["user_id"] == user_id]
        return [entry for entry in sms if any(one in _callback(entry) for one in ids)]

    screen = people.li_iphone.screen
    android = await stage.device(people.li_android.device_id)
    to_android = pushes("fcm", third)
    in_mei_box = [text["body"] for text in await simulators.outbox(people.mei_number)]
    sms4 = await texts(fourth, people.mei)
    sms5 = await texts(fifth, people.mei)
    sms6 = await texts(sixth, people.tom)
    return [
        _count("1: shown on Li's iPhone once", [each for each in screen if each == first], 1),
        _count("1: no push to APNs for a phone that answered on its line", pushes("apns", first), 0),
        _count("2: one push at APNs, answered 200", _answered(pushes("apns", second), 200), 1),
        _handed_over("2: Apple's yes was stored as handed_over, and the receipt alone confirmed", acts[1]),
        _count("3: one push at FCM, answered 404 UNREGISTERED", _answered(to_android, 404, "UNREGISTERED"), 1),
        _count("3: nothing went to that token again", to_android, 1),
        _is("3: its token is dead", [token["state"] for token in android["tokens"]], ["dead"]),
        _count("3: shown on Li's Android phone once", [i for i in people.li_android.screen if i == third], 1),
        _count("4: one push at APNs, never proven", pushes("apns", fourth), 1),
        _count("4: one SMS at the carrier", sms4, 1),
        _is("4: its text is on Mei's phone", in_mei_box, ["Wang: Your flight is cancelled."]),
        _count("5: one push at APNs", pushes("apns", fifth), 1),
        _count("5: no SMS at the carrier", sms5, 0),
        _count("6: shown on Li's iPhone once", [each for each in screen if each == sixth], 1),
        _count("6: one SMS to Tom", sms6, 1),
        _count("all: two SMS in the whole run", _to(sms, people.mei_number, people.tom_number), 2),
    ]


def _count(text: str, found: Sequence[Any], wanted: int) -> Check:
    return Check(text=text, passed=len(found) == wanted, found=str(len(found)))


def _is(text: str, found: Any, wanted: Any) -> Check:
    return Check(text=text, passed=found == wanted, found=str(found))


def _answered(entries: Sequence[Entry], status: int, reason: str | None = None) -> list[Entry]:
    answers = [(entry, entry["answer"] or {}) for entry in entries]
    return [
        entry for entry, answer in answers if answer.get("status") == status and reason in {None, answer.get("reason")}
    ]


def _handed_over(text: str, act: Act) -> Check:
    outcomes = [event["detail"].get("outcome") for event in act.events if event["kind"] == "outcome"]
    receipts = [event for event in act.events if event["kind"] == "receipt"]
    return Check(
        text=text,
        passed=outcomes == ["handed_over"] and len(receipts) == 1,
        found=f"outcomes {outcomes}, {len(receipts)} receipts",
    )


def _callback(entry: Entry) -> str:
    """The address that the carrier reports to: it holds our attempt id, and that the delivery id."""
    return str(parse_qs(str(entry["body"] or "")).get("StatusCallback", [""])[0])


def _to(entries: Sequence[Entry], *numbers: str) -> list[Entry]:
    return [entry for entry in entries if entry["target"] in numbers]
