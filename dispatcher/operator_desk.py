"""What operators ask of the core: people, apps, credentials, figures, listings, switches, dead letters."""

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

from dispatcher.api.operations import AppDoor, Listed
from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.ids import DeliveryRef
from dispatcher.errors import Kind, Problem
from dispatcher.passwords import Passwords
from dispatcher.pipeline.accept import Acceptor
from dispatcher.pipeline.listing import listed
from dispatcher.pipeline.replay import NotExhausted, NotThere, replay
from dispatcher.ports.block_list import sorted_blocks
from dispatcher.ports.operations import By, Figure, Replay, Session, Tier, Wanted
from dispatcher.provider_desk import ProviderDesk

#: A sign-in is renewed so many lives long.
LIVES = 12


class OperatorDesk(ProviderDesk):
    """Implements ``dispatcher.api.operations``."""

    def __init__(self, stores: Stores, acceptor: Acceptor) -> None:
        super().__init__(stores)
        self._stores = stores
        self._desk = stores.desk
        self._parts = stores.parts
        self._acceptor = acceptor
        self._passwords = Passwords()
        self.operators = stores.desk.operators
        self.blocks = stores.desk.blocks

    async def door(self, app: str) -> AppDoor | None:
        found = await self._stores.apps.app(app)
        if found is None:
            return None
        rules = found.settings
        classes = rules.get("classes")
        return AppDoor(
            classes=None if classes is None else frozenset(classes),
            rate_per_key=rules.get("rate_per_key"),
            rate_per_device=rules.get("rate_per_device"),
            **sorted_blocks(await self._desk.blocks.blocks(app)),
        )

    # Operators

    async def sign_in(self, login: str, password: str, address: str, now: Millis) -> tuple[Session, str]:
        wait = await self._desk.sign_ins.begin(login, address)
        if wait:
            raise Problem(Kind.RATE_LIMITED, "too many sign-ins failed", retry_after=wait)
        stored = await self.operators.password_hash(login)
        if not await self._passwords.fits(stored, password):
            raise Problem(Kind.UNAUTHENTICATED, "login or password is wrong")
        await self._desk.sign_ins.succeeded(login, address)
        return await self._open(login, now, now)

    async def renew(self, session: Session, now: Millis) -> tuple[Session, str]:
        if now >= session.signed_in_at + LIVES * self._stores.settings.operator_session:
            raise Problem(Kind.UNAUTHENTICATED, "the sign-in is too long ago: sign in again")
        opened = await self._open(session.operator.login, session.signed_in_at, now)
        await self.operators.close_session(session.session_id)
        return opened

    async def _open(self, login: str, signed_in_at: Millis, now: Millis) -> tuple[Session, str]:
        try:
            return await self.operators.open_session(login, signed_in_at, now + self._stores.settings.operator_session)
        except KeyError:
            raise Problem(Kind.UNAUTHENTICATED, "login or password is wrong") from None

    async def hash_password(self, password: str) -> str:
        return await self._passwords.hash(password)

    async def unmask_user(self, app: str, user_id: str) -> str | None:
        profile = (await self._stores.directory.profiles(app, [user_id])).get(user_id)
        if profile is None:
            raise Problem.not_found("user")
        return self._stores.sealer.open(profile.phone).decode() if profile.phone is not None else None

    async def unmask_device(self, app: str, device_id: str) -> Mapping[str, Any]:
        found = await self._stores.directory.device(app, device_id)
        if found is None:
            raise Problem.not_found("device")
        user_id, device = found
        return {
            "user_id": user_id,
            "tokens": [
                {
                    "path": token.path,
                    "kind": token.kind,
                    "environment": token.environment,
                    "topic": token.topic,
                    "state": token.state,
                    "value": token.value,
                }
                for token in device.tokens
            ],
        }

    # Looking

    async def figures(
        self, app: str, tier: Tier, since: Millis, until: Millis, by: Sequence[By], *, klass: str | None
    ) -> list[Figure]:
        return await self._desk.rollups.figures(app, tier, since, until, by, klass=klass)

    async def listed(
        self, wanted: Wanted, states: frozenset[str] | None, before: DeliveryRef | None, limit: int, now: Millis
    ) -> Listed:
        if wanted.device_id is not None:
            found = await self._stores.directory.device(wanted.app, wanted.device_id)
            if found is None or wanted.user_id not in {None, found[0]}:
                return Listed(rows=(), next=None)
            wanted = _of_user(wanted, found[0])
        rows, following = await listed(self._desk.listings, self._parts, wanted, states, before, limit, now)
        return Listed(rows=rows, next=following)

    def delivery_id(self, app: str, user_id: str, ref: DeliveryRef) -> str:
        return self._parts.ids.delivery_id(ref, app, user_id)

    # Dead letters

    async def replays(self, app: str, refs: Sequence[DeliveryRef]) -> Mapping[DeliveryRef, Replay]:
        return await self._desk.replays.replays(app, refs)

    async def replay(self, app: str, delivery_id: str, by: str, now: Millis) -> Mapping[str, Any]:
        try:
            return await replay(app, delivery_id, by, self._acceptor, self._desk.replays, self._parts, now)
        except NotThere:
            raise Problem.not_found("dead letter") from None
        except NotExhausted as standing:
            raise Problem.conflict(f"only what ended exhausted can be replayed; this is {standing}") from None


def _of_user(wanted: Wanted, user_id: str) -> Wanted:
    from dataclasses import replace

    return replace(wanted, user_id=user_id)


def address_text(value: str) -> str:
    """An address or a network in its one spelling; ValueError for anything else."""
    return str(ip_network(value)) if "/" in value else str(ip_address(value))
