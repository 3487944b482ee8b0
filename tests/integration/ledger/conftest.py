"""What the ledger's tests share: an engine on a fresh ledger, and messages and deliveries to put into it."""

from collections.abc import AsyncIterator, Callable, Sequence

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from dispatcher.domain.clock import MINUTE
from dispatcher.domain.delivery import End, Proof
from dispatcher.domain.ids import DeliveryRef, home_created
from dispatcher.domain.message import Message, Priority
from dispatcher.domain.paths import Path
from dispatcher.ledger.engine import open_ledger
from dispatcher.ports.messages import SettledDelivery, Submission


@pytest.fixture
async def engine(ledger_url: str) -> AsyncIterator[AsyncEngine]:
    """A pool on this test's own ledger."""
    opened = open_ledger(ledger_url)
    yield opened
    await opened.dispose()


@pytest.fixture
def submit() -> Callable[..., Submission]:
    """One message on its way in; accepted when its home was born unless said otherwise."""

    def make(
        home: int,
        place: int = 0,
        *,
        message_id: str | None = None,
        content: bytes = b"as written",
        to: Sequence[str] = ("li",),
        app: str = "im",
        klass: str = "chat",
        due: int | None = None,
    ) -> Submission:
        at = home_created(home)
        message = Message(
            app=app,
            message_id=message_id or f"cm-{home:x}-{place}",
            klass=klass,
            priority=Priority.NORMAL,
            body=b'"message_id":"cm"',
            accepted_at=at,
            expires_at=at + 5 * MINUTE,
            notification={"title": "Wang", "body": "你在吗"},
        )
        return Submission(
            message=message,
            content_hash=content.ljust(16)[:16],
            home=home,
            place=place,
            index=place,
            user_ids=to,
            due=at if due is None else due,
        )

    return make


@pytest.fixture
def settle() -> Callable[..., SettledDelivery]:
    """One settled delivery on its way in."""

    def make(
        home: int,
        place: int = 0,
        *,
        user: str = "li",
        message_id: str | None = None,
        end: End = End.EXHAUSTED,
        proof: Proof = Proof.NONE,
        by: Path | None = None,
        confirmed_at: int | None = None,
        seq: int | None = None,
        app: str = "im",
        klass: str = "chat",
    ) -> SettledDelivery:
        at = home_created(home)
        return SettledDelivery(
            ref=DeliveryRef(home, place),
            app=app,
            user_id=user,
            message_id=message_id or f"cm-{home:x}-{place}",
            klass=klass,
            seq=at * 1000 + place if seq is None else seq,
            end=end,
            proof=proof,
            confirmed_by=by,
            confirmed_at=confirmed_at,
            accepted_at=at,
            settled_at=at + 1000,
            strategy="default",
            version=1,
            rule="everyone",
            platform="ios",
            body=b'"message_id":"cm"',
            tracks=b'[{"device_id":"d1"}]',
        )

    return make
