"""When a phone comes back."""

import subprocess
import sys

import pytest

from dispatcher.client.reconnect import MOST_S, POLL_AFTER, POLL_MOST_S, Next, Reconnect
from dispatcher.protocol.frames import Bye


@pytest.mark.parametrize(
    ("code", "bye", "held_s", "expected"),
    [
        (1001, Bye("draining", 7), 60.0, Next(after_s=7.5)),
        (1006, None, 60.0, Next(after_s=0.625)),
        (4008, Bye("slow_consumer", 1), 60.0, Next(after_s=1.5)),
        (1013, Bye("unavailable", 9), 0.0, Next(after_s=9.5)),
        (1008, None, 0.0, Next(after_s=2.5)),
        (4001, Bye("token_expired"), 60.0, Next(after_s=0.0, new_token=True)),
        (4002, Bye("replaced"), 60.0, Next(after_s=0.0, stop=True)),
        (4010, Bye("moved"), 60.0, Next(after_s=0.0, stop=True)),
    ],
)
def test_the_close_code_and_the_bye_say_when(code: int, bye: Bye | None, held_s: float, expected: Next) -> None:
    assert Reconnect(lambda: 0.5).after(code, bye, held_s=held_s) == expected


def test_pauses_grow_to_a_bound_and_a_line_that_held_starts_over() -> None:
    reconnect = Reconnect(lambda: 1.0)
    pauses = [reconnect.refused(None).after_s for _ in range(10)]
    assert pauses == [1, 2, 4, 8, 16, 32, 64, MOST_S, MOST_S, MOST_S]
    assert reconnect.after(1006, None, held_s=31).after_s == 1


def test_a_phone_without_a_network_for_weeks_still_comes_back() -> None:
    reconnect = Reconnect(lambda: 1.0)
    steps = [reconnect.refused(None) for _ in range(3000)]
    assert (steps[-1].after_s, steps[-1].poll_s) == (MOST_S, POLL_MOST_S * 1.25)


def test_no_two_phones_come_back_together() -> None:
    pauses = {Reconnect(lambda dice=dice: dice / 10).refused(None).after_s for dice in range(10)}  # type: ignore[misc]
    assert len(pauses) == 10
    assert min(pauses) >= 0.25


def test_a_refusal_with_a_time_is_obeyed() -> None:
    assert Reconnect(lambda: 0.5).refused(30.0).after_s == 30.0


def test_a_line_that_will_not_hold_turns_to_polling() -> None:
    reconnect = Reconnect(lambda: 0.5)
    steps = [reconnect.after(1006, None, held_s=2.0) for _ in range(POLL_AFTER + 5)]
    assert [step.poll_s for step in steps] == [0.0] * (POLL_AFTER - 1) + [10, 20, 40, 80, POLL_MOST_S, POLL_MOST_S]


def test_phones_that_poll_do_not_try_the_line_again_together() -> None:
    steps = [[Reconnect(lambda dice=dice: dice / 10)] * POLL_AFTER for dice in range(10)]  # type: ignore[misc]
    pauses = {[phone.refused(None).poll_s for phone in phones][-1] for phones in steps}
    assert len(pauses) == 10
    assert (min(pauses), max(pauses)) == (7.5, 12.0)


def test_polling_lasts_at_least_as_long_as_the_gateway_asked() -> None:
    reconnect = Reconnect(lambda: 0.5)
    assert [reconnect.refused(30.0).poll_s for _ in range(POLL_AFTER)][-1] == 30.0


def test_a_token_that_is_refused_again_is_not_fetched_in_a_storm() -> None:
    reconnect = Reconnect(lambda: 0.5)
    first = reconnect.after(4001, Bye("token_invalid"), held_s=0.0)
    second = reconnect.after(4001, Bye("token_invalid"), held_s=0.0)
    assert (first.after_s, second.after_s) == (0.0, 1.25)


def test_the_sdk_needs_no_server_dependency() -> None:
    script = (
        "import sys, dispatcher.client\n"
        "server = {'uvloop', 'redis', 'sqlalchemy', 'litestar', 'celery', 'dispatcher.gateway', 'dispatcher.hot'}\n"
        "print(sorted(server & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
