from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.embedded.supervisor import LAST_BACKOFF, backoff


@pytest.mark.parametrize(("deaths", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (5, 3.2), (6, 5.0), (1_000_000, 5.0)])
def test_each_death_in_a_row_doubles_the_wait_up_to_five_seconds(deaths: int, seconds: float) -> None:
    assert backoff(deaths) == pytest.approx(seconds)


@given(st.lists(st.integers(1, 10_000), min_size=2).map(sorted))
def test_a_later_death_never_waits_less(deaths: list[int]) -> None:
    waits = [backoff(number) for number in deaths]
    assert all(earlier <= later <= LAST_BACKOFF for earlier, later in pairwise(waits))
