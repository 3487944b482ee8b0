"""Several carriers as one: what one certainly did not take goes to the next; what may be on its way does not."""

import json
from collections.abc import Sequence

import pytest

from dispatcher.domain.clock import SECOND
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, RetryLater, Unknown
from dispatcher.domain.paths import Path
from dispatcher.ports.carrier_health import FIRST_REST, LONGEST_REST
from providers.base import Attempt, Limits
from providers.credentials import BadCredentials, SmsCarriers, carriers_of, read_credentials
from providers.sms.carriers import Carrier, Carriers
from providers.sms.opt_out import opt_out_of

NOW = 1_800_000_000_000
TWILIO = {"account_sid": "AC1", "auth_token": "t", "from_number": "+1"}
HTTP = {"carrier": "http", "endpoint": "https://sms.example", "token": "t", "secret": "s", "sender": "Us"}
TAKEN = HandedOver("1")
AWAY = RetryLater("transport_connect")
BUSY = RetryLater("twilio_20429", 90 * SECOND, brake=True)
LOST = Unknown("transport_deadline")
LOCKED_OUT = Rejected("twilio_20003", configuration=True)
NO_MOBILE = Rejected("twilio_21614", suppress=True)


class Scripted:
    """A carrier that says what it is told, and keeps what it was asked."""

    def __init__(self, outcome: Outcome, found: Outcome | None = None) -> None:
        self.limits = Limits(batch=50, payload_bytes=6_400, concurrent=50, deadline_ms=15_000)
        self.outcome, self.found = outcome, found
        self.asked = 0

    async def send(self, attempts: Sequence[Attempt], now: int) -> list[Outcome]:
        self.asked += len(attempts)
        return [self.outcome] * len(attempts)

    async def look_up(self, attempt: Attempt) -> Outcome | None:
        return self.found

    async def close(self) -> None:
        """Nothing to end."""


def attempt() -> Attempt:
    message = Message(
        app="im",
        message_id="cm",
        klass="otp",
        priority=Priority.HIGH,
        body=b"",
        accepted_at=NOW,
        expires_at=NOW + 600_000,
    )
    return Attempt(
        attempt_id="a.0.0s",
        delivery_id="a",
        user_id="li",
        message=message,
        expires_at=message.expires_at,
        phone="+8613800000000",
        text="1234",
    )


def both(first: Outcome, second: Outcome = TAKEN) -> tuple[Scripted, Scripted, Carriers]:
    one, two = Scripted(first), Scripted(second)
    return one, two, Carriers([Carrier(name="one", provider=one), Carrier(name="two", provider=two)])


@pytest.mark.parametrize(
    ("first", "second", "outcome", "asked"),
    [
        (TAKEN, TAKEN, TAKEN, (1, 0)),
        (AWAY, TAKEN, TAKEN, (1, 1)),
        (BUSY, TAKEN, TAKEN, (1, 1)),
        (LOCKED_OUT, TAKEN, TAKEN, (1, 1)),
        (NO_MOBILE, TAKEN, NO_MOBILE, (1, 0)),  # the number is at fault: another carrier changes nothing
        (LOST, TAKEN, LOST, (1, 0)),  # it may be on its way
        (AWAY, LOST, LOST, (1, 1)),
        (LOCKED_OUT, LOCKED_OUT, LOCKED_OUT, (1, 1)),
        (BUSY, BUSY, BUSY, (1, 1)),
        (BUSY, LOCKED_OUT, RetryLater("twilio_20429", 90 * SECOND), (1, 1)),
    ],
)
async def test_a_text_goes_to_whoever_can_take_it(
    first: Outcome, second: Outcome, outcome: Outcome, asked: tuple[int, int]
) -> None:
    one, two, carriers = both(first, second)
    assert await carriers.send([attempt()], NOW) == [outcome]
    assert (one.asked, two.asked) == asked


async def test_an_unwell_carrier_rests_ever_longer_and_comes_back_to_its_place() -> None:
    one, two, carriers = both(AWAY)
    await carriers.send([attempt()], NOW)
    await carriers.send([attempt()], NOW + FIRST_REST - SECOND)
    assert (one.asked, two.asked) == (1, 2)
    await carriers.send([attempt()], NOW + FIRST_REST + SECOND)
    await carriers.send([attempt()], NOW + FIRST_REST * 2 + SECOND)
    assert (one.asked, two.asked) == (2, 4)
    one.outcome = TAKEN
    await carriers.send([attempt()], NOW + FIRST_REST * 4)
    await carriers.send([attempt()], NOW + FIRST_REST * 4)
    assert (one.asked, two.asked) == (4, 4)


async def test_a_lost_answer_sends_the_next_text_by_the_other_carrier() -> None:
    one, two, carriers = both(LOST)
    await carriers.send([attempt()], NOW)
    assert await carriers.send([attempt()], NOW + SECOND) == [TAKEN]
    assert (one.asked, two.asked) == (1, 1)


async def test_a_carriers_own_wish_to_wait_is_heeded() -> None:
    one, _, carriers = both(RetryLater("twilio_20429", 2 * LONGEST_REST, brake=True))
    await carriers.send([attempt()], NOW)
    await carriers.send([attempt()], NOW + LONGEST_REST + SECOND)
    assert one.asked == 1


@pytest.mark.parametrize(
    ("one", "two", "found"),
    [(None, None, None), (TAKEN, None, TAKEN), (None, TAKEN, TAKEN), (LOST, TAKEN, TAKEN), (LOST, None, LOST)],
)
async def test_a_lost_text_is_looked_up_with_every_carrier(
    one: Outcome | None, two: Outcome | None, found: Outcome | None
) -> None:
    carriers = Carriers(
        [Carrier(name=str(at), provider=Scripted(TAKEN, answer)) for at, answer in enumerate((one, two))]
    )
    assert await carriers.look_up(attempt()) == found


def test_one_carrier_stands_alone_or_several_in_a_list() -> None:
    listed = read_credentials(Path.SMS, json.dumps({"carriers": [TWILIO, HTTP]}).encode())
    assert isinstance(listed, SmsCarriers)
    assert [one.carrier for one in carriers_of(listed)] == ["twilio", "http"]
    alone = read_credentials(Path.SMS, json.dumps(TWILIO).encode())
    assert carriers_of(alone) == (alone,)
    assert "t'" not in repr(listed)


@pytest.mark.parametrize(
    ("document", "field"),
    [
        ({"carriers": []}, "carriers"),
        ({"carriers": [TWILIO] * 5}, "carriers"),
        ({"carriers": [TWILIO], "auth_token": "x"}, "auth_token"),
        ({"carriers": [TWILIO, {**HTTP, "secret": ""}]}, "carriers[1].secret"),
        ({"carriers": [{"carriers": [TWILIO]}]}, "carriers[0]"),
        ({"carriers": [{"carrier": "pigeon"}]}, "carriers[0].carrier"),
    ],
)
def test_a_bad_list_names_its_culprit(document: object, field: str) -> None:
    with pytest.raises(BadCredentials) as caught:
        read_credentials(Path.SMS, json.dumps(document).encode())
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("text", "kind", "means"),
    [
        ("STOP", None, True),
        (" stop. ", None, True),
        ("退订", None, True),
        ("start", None, False),
        ("please stop", None, None),
        ("whatever", "STOP", True),
        ("STOP", "HELP", None),
        ("", None, None),
    ],
)
def test_the_words_that_stop_and_start_texts(text: str, kind: str | None, means: bool | None) -> None:
    assert opt_out_of(text, kind) is means
