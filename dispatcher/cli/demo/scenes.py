"""The six messages. Each scene dispatches one, plays the phone's or the vendor's part, and sees it proven."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from dispatcher.cli.demo.board import Act, Board
from dispatcher.cli.demo.stage import CLASS, DemoFailed, Phone, Stage, line_of
from dispatcher.cli.demo.timeline import Event, Follower, eventually, in_words

#: After a crash SMS steps hold for 20 s (no evidence is not non-delivery): honest runs end well within these.
SETTLED_S = 15.0
SETTLED_BY_SMS_S = 60.0
#: In the last scenes: the strategy waits 3 s for a receipt of the push, the app's comes a second before that is over.
RECEIPT_AFTER_S = 2.0
SMS_WOULD_BE_DUE_S = 4.5


class Scene:
    """What one scene has in hand: the stage, its own act, and the board that shows it."""

    def __init__(self, stage: Stage, act: Act, board: Board) -> None:
        self.stage = stage
        self.act = act
        self._board = board
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """One step of what happens."""
        self.act.steps.append(text)
        self._board.step(self.act, text)

    def tell(self, event: Event) -> None:
        """An event of the timeline."""
        self.act.events.append(dict(event))
        words = in_words(event)
        if words is not None:
            self.say(words)

    async def dispatch(self, to: Mapping[str, Any], body: str, **more: Any) -> Follower:
        """Dispatches the scene's message; the follower tells what becomes of it."""
        answer = await self.stage.sender.dispatch(self.message(to, body, **more))
        if answer["duplicate"]:
            raise DemoFailed("a new message was called a duplicate")
        return self.follow(_first_user(self.stage, to))

    def message(self, to: Mapping[str, Any], body: str, **more: Any) -> dict[str, Any]:
        """The scene's message as the IM backend writes it."""
        return {
            "message_id": self.act.message_id,
            "to": dict(to),
            "class": CLASS,
            "notification": {"title": "Wang", "body": body},
            "ttl": "10m",
            **more,
        }

    def follow(self, user_id: str) -> Follower:
        """One recipient's timeline."""
        return Follower(self.stage.sender, self.act.message_id, user_id, self.tell)

    async def confirmed(self, follower: Follower, path: str) -> None:
        """The delivery is confirmed, and by *path*."""
        settled = await follower.settled(SETTLED_BY_SMS_S if path == "sms" else SETTLED_S)
        detail = settled["detail"]
        if detail["state"] != "confirmed" or detail["confirmed_by"] != path:
            raise DemoFailed(f"settled as {detail['state']} by {detail['confirmed_by']}, not by {path}")
        self.act.confirmed_by = path

    async def pushed(self, end: str, phone: Phone) -> dict[str, Any]:
        """The ids under ``pushpath`` in the push that woke *phone*, from the simulator's log: what its app sees."""

        async def arrived() -> dict[str, Any] | None:
            for entry in await self.stage.simulators.requests(end, phone.push_token):
                ids = ids_in(end, entry)
                if ids.get("message_id") == self.act.message_id and (entry["answer"] or {}).get("status") == 200:
                    return ids
            return None

        found: dict[str, Any] = await eventually(f"a push through {end}", arrived)
        return found

    async def receipt(self, phone: Phone, ids: Mapping[str, Any], via: str) -> None:
        """The app's receipt for a push, as its service extension sends it."""
        proof = {
            "delivery_id": ids["delivery_id"],
            "attempt_id": ids["attempt_id"],
            "event": "delivered",
            "via": via,
        }
        counts = await phone.app.receipts([proof])
        if counts["accepted"] != 1:
            raise DemoFailed(f"the receipt was not taken: {counts}")


def ids_in(end: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """message_id, delivery_id and attempt_id that a logged push carries; empty where it is none of ours."""
    try:
        payload = json.loads(entry["body"])
        ids = json.loads(payload["message"]["data"]["pushpath"]) if end == "fcm" else payload["pushpath"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(ids)


def _first_user(stage: Stage, to: Mapping[str, Any]) -> str:
    named = to.get("user_ids")
    if named:
        return str(named[0])
    people = stage.people
    return people.li if to["device_ids"][0] in {people.li_iphone.device_id, people.li_android.device_id} else people.mei


async def long_connection(scene: Scene) -> None:
    """Li's iPhone is in her hand and connected; the Android phone lies in a drawer."""
    people = scene.stage.people
    async with line_of(people.li_iphone):
        follower = await scene.dispatch({"user_ids": [people.li]}, "Are you there?")
        await scene.confirmed(follower, "longconn")


async def apns_receipt(scene: Scene) -> None:
    """Mei's iPhone is offline: Apple takes the push, her app's service extension proves it."""
    people = scene.stage.people
    follower = await scene.dispatch({"user_ids": [people.mei]}, "Dinner at eight?")
    ids = await scene.pushed("apns", people.mei_iphone)
    await scene.receipt(people.mei_iphone, ids, "apns")
    await scene.confirmed(follower, "apns")


async def unregistered_then_poll(scene: Scene) -> None:
    """Li reinstalled the app on her Android phone: FCM no longer knows its token. It finds the message by polling."""
    stage, phone = scene.stage, scene.stage.people.li_android
    gone = {"match": phone.push_token, "status": 404, "reason": "UNREGISTERED"}
    async with stage.simulators.scripted("fcm", [gone]):
        follower = await scene.dispatch({"device_ids": [phone.device_id]}, "Bring the tickets.")
        await follower.until("FCM's verdict", lambda event: event["detail"].get("outcome") == "token_dead", 30)

    async def dropped() -> bool:
        device = await stage.device(phone.device_id)
        return all(token["state"] == "dead" for token in device["tokens"])

    await eventually("the end of the token", dropped)
    scene.say("the token is dropped; the phone polls its inbox")
    await phone.app.pull(wait_s=5)
    await scene.confirmed(follower, "poll")


async def sms_at_last(scene: Scene) -> None:
    """Mei's iPhone is switched off: the push proves nothing, so an SMS goes out and the carrier confirms it."""
    people = scene.stage.people
    follower = await scene.dispatch({"user_ids": [people.mei]}, "Your flight is cancelled.", priority="high")
    await scene.confirmed(follower, "sms")


async def receipt_stops_sms(scene: Scene) -> None:
    """The same, but her phone wakes up a second before the SMS would go out."""
    people = scene.stage.people
    follower = await scene.dispatch({"user_ids": [people.mei]}, "The flight goes after all.", priority="high")
    ids = await scene.pushed("apns", people.mei_iphone)
    woken = time.monotonic()
    await follower.handed_over("apns")
    await asyncio.sleep(RECEIPT_AFTER_S - (time.monotonic() - woken))
    await scene.receipt(people.mei_iphone, ids, "apns")
    await scene.confirmed(follower, "apns")
    scene.say("waiting past the moment at which the SMS was due")
    await asyncio.sleep(SMS_WOULD_BE_DUE_S - (time.monotonic() - woken))


async def twice_sent(scene: Scene) -> None:
    """The backend sends the same message twice at once, to Li who is online and to Tom who has no app."""
    stage, people = scene.stage, scene.stage.people
    async with line_of(people.li_iphone):
        message = scene.message({"user_ids": [people.li, people.tom]}, "The train leaves at 7:40.")
        answers = await asyncio.gather(stage.sender.dispatch(message), stage.sender.dispatch(message))
        if sorted(answer["duplicate"] for answer in answers) != [False, True]:
            raise DemoFailed(f"two sends were answered {answers}")
        scene.say("sent twice: one accepted, one called a duplicate")
        await scene.confirmed(scene.follow(people.li), "longconn")
        await scene.confirmed(scene.follow(people.tom), "sms")
    scene.act.confirmed_by = "longconn and sms"


SCENES: tuple[tuple[str, str, Callable[[Scene], Awaitable[None]]], ...] = (
    ("Proven over the long connection", "Li: iPhone online, Android phone off", long_connection),
    ("Phone offline: APNs and the app's receipt", "Mei: iPhone", apns_receipt),
    ("FCM answers UNREGISTERED: token dropped, proven by polling", "Li: Android phone", unregistered_then_poll),
    ("Nothing proves it: SMS, confirmed by the carrier", "Mei: iPhone, switched off", sms_at_last),
    ("A receipt just before the SMS stops it", "Mei: iPhone, back just in time", receipt_stops_sms),
    ("Sent twice, delivered once", "Li: iPhone online, and Tom: no app", twice_sent),
)
