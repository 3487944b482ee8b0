"""What the hot store's tests share: a store on an empty server, and homes to put into it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

import pytest

from dispatcher.domain.delivery import Cursor, Phase, Proof
from dispatcher.domain.ids import make_home
from dispatcher.domain.message import Lane, Message, Priority
from dispatcher.domain.plan import DeliveryPlan, TrackPlan
from dispatcher.hot.homes import RedisHomes
from dispatcher.hot.store import HotStore
from dispatcher.ports.homes import Admission, Ended, Planned, Recipient

NOW = 1_800_000_000_000
TTL = 600_000


@pytest.fixture
async def hot(hot_store_url: str) -> AsyncIterator[HotStore]:
    """A hot store of four shards, empty."""
    opened = HotStore(hot_store_url, shards=4)
    yield opened
    await opened.close()


@pytest.fixture
def homes(hot: HotStore) -> RedisHomes:
    return RedisHomes(hot)


def home_of(number: int = 1, shard: int = 0, at: int = NOW) -> int:
    return make_home(at, number, shard)


def message_of(home: int, *, app: str = "im", index: int = 0, ttl: int = TTL) -> Message:
    return Message(
        app=app,
        message_id=f"cm-{home:x}-{index}",
        klass="chat",
        priority=Priority.NORMAL,
        body=b'"message_id":"cm"',
        accepted_at=NOW,
        expires_at=NOW + ttl,
    )


def admission(
    home: int,
    places: Sequence[int] = (0,),
    *,
    app: str = "im",
    lane: Lane = Lane.INTERACTIVE,
    due: int = NOW,
    ended: Mapping[int, Ended] | None = None,
) -> Admission:
    """One message for as many users as there are *places*."""
    return Admission(
        home=home,
        app=app,
        lane=lane,
        messages={0: message_of(home, app=app)},
        recipients=[
            Recipient(place=place, message=0, user_id=f"u{place}", seq=place + 1, prev_seq=place) for place in places
        ],
        due=due,
        size=max(places) + 1,
        ended=ended or {},
    )


def planned(place: int, starts: Sequence[Cursor], *, until: Proof = Proof.DELIVERED, each: bool = False) -> Planned:
    """A plan with one device a start, named ``<place>-<track>``."""
    tracks = tuple(
        TrackPlan(device_id=f"{place}-{track}", epoch=1, platform="ios", ladder=0) for track in range(len(starts))
    )
    plan = DeliveryPlan(ladders=(b"packed",), tracks=tracks, each=each)
    return Planned(place=place, plan=plan, starts=starts, untils=[until] * len(starts))


def ready(step: int = 0, attempt: int = 0) -> Cursor:
    return Cursor(step, attempt, Phase.READY)


Make = Callable[..., Admission]
