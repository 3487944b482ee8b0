"""What operators ask about providers: how each path fares, its switch, its credentials."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from dispatcher.api.operations import CarrierView, CredentialView, ProviderView
from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.domain.etag import ALWAYS, Condition, Stale
from dispatcher.domain.histogram import quantile_s
from dispatcher.domain.paths import Path
from dispatcher.errors import Problem
from dispatcher.hot.carrier_health import RedisCarrierHealth
from dispatcher.pipeline.brakes import brake_key
from dispatcher.ports.directory import credentials_etag
from dispatcher.sealing import SealBroken

#: Who stands behind a path.
NAMES = {Path.LONGCONN: "gateway", Path.POLL: "inbox", Path.APNS: "apple", Path.FCM: "google", Path.SMS: "carrier"}
#: Requests a minute and project; https://firebase.google.com/docs/cloud-messaging/throttling-and-quotas
QUOTAS = {Path.FCM: 600_000}
#: How often credentials are looked at again because somebody else set them meanwhile.
TRIES = 10
_OURS = frozenset({Path.LONGCONN, Path.POLL})


class ProviderDesk:
    """The part of ``dispatcher.api.operations`` that is about providers."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._circuits = stores.desk.circuits
        self._checks = stores.desk.checks

    async def credentials(self, app: str) -> Sequence[CredentialView]:
        rows, checks = await self._stores.apps.credential_rows(app), await self._checks.checks(app)
        return [
            CredentialView(path=path, changed_at=changed_at, about=self._about(path, sealed), check=checks.get(path))
            for path, sealed, changed_at in rows
        ]

    def _about(self, path: Path, sealed: bytes) -> Mapping[str, Any]:
        from dispatcher.credential_check import about

        try:
            return about(path, self._stores.sealer.open(sealed))
        except SealBroken:
            return {}

    async def put_credentials(
        self, app: str, path: Path, document: bytes, now: Millis, condition: Condition = ALWAYS
    ) -> tuple[CredentialView, bool]:
        from dispatcher.credential_check import about, check_of, findings, read
        from providers.credentials import BadCredentials

        try:
            read_ones = read(path, document, now)
        except BadCredentials as fault:
            raise Problem.invalid(fault.field, fault.problem) from None
        shown = about(path, document)
        changed_at, new = await self._store(app, path, document, shown, now, condition)
        await self._circuits.reset(app, path, now)
        check = check_of(findings(path, read_ones, now), now)
        await self._checks.checked(app, path, check)
        if path is Path.SMS:
            await RedisCarrierHealth(self._stores.hot, app).forget()
        return CredentialView(path=path, changed_at=changed_at, about=shown, check=check), new

    async def _store(
        self, app: str, path: Path, document: bytes, shown: Mapping[str, Any], now: Millis, condition: Condition
    ) -> tuple[Millis, bool]:
        """Since when they stand, and whether none did. What was looked at is what is replaced: nobody else's project
        comes in between."""
        for _ in range(TRIES):
            standing = await self._standing(app, path)
            condition.hold(None if standing is None else credentials_etag(path, standing[1]))
            if standing is not None:
                _same_project(path, self._about(path, standing[0]), shown)
            seen = Condition(absent=True) if standing is None else _as_of(path, standing[1])
            sealed = self._stores.sealer.seal(document)
            with suppress(Stale):  # somebody was faster: looked at again
                return await self._stores.apps.set_credentials(app, path, sealed, now, seen), standing is None
        raise Stale

    async def _standing(self, app: str, path: Path) -> tuple[bytes, Millis] | None:
        """What is stored, still sealed, and since when."""
        rows = await self._stores.apps.credential_rows(app)
        return next(((sealed, changed_at) for found, sealed, changed_at in rows if found is path), None)

    async def drop_credentials(self, app: str, path: Path) -> bool:
        await self._checks.forget(app, path)
        return await self._stores.apps.drop_credentials(app, path)

    async def check_credentials(self, app: str, path: Path, now: Millis) -> CredentialView | None:
        from dispatcher.credential_check import check_of, look_at

        standing = await self._standing(app, path)
        if standing is None:
            return None
        sealed, changed_at = standing
        view = (await self._circuits.view(app, now))[path]
        check = check_of(look_at(path, sealed, self._stores.sealer, now, view), now)
        await self._checks.checked(app, path, check)
        return CredentialView(path=path, changed_at=changed_at, about=self._about(path, sealed), check=check)

    async def providers(self, app: str, now: Millis) -> Sequence[ProviderView]:
        views = await self._circuits.view(app, now)
        credentials = {view.path: view for view in await self.credentials(app)}
        found = []
        for path in Path:
            view = views[path]
            found.append(
                ProviderView(
                    path=path,
                    name=NAMES[path],
                    configured=path in _OURS or path in credentials,
                    view=view,
                    receipt_s=quantile_s(view.receipts, 0.5),
                    receipt_p95_s=quantile_s(view.receipts, 0.95),
                    brakes=await self._stores.parts.throttle.brakes(brake_key(app, path), now),
                    quota=QUOTAS.get(path),
                    credentials=credentials.get(path),
                    carriers=await self._carriers(app, now) if path is Path.SMS and path in credentials else (),
                )
            )
        return found

    async def _carriers(self, app: str, now: Millis) -> Sequence[CarrierView]:
        from dispatcher.credential_check import about_each

        sealed = await self._stores.apps.credentials(app, Path.SMS)
        try:
            named = about_each(self._stores.sealer.open(sealed)) if sealed is not None else []
        except SealBroken:
            return ()
        rests = await RedisCarrierHealth(self._stores.hot, app).rests(now)
        resting = {name: rest for name, rest in rests.items() if rest.until > now}
        return [CarrierView(name=name, about=shown, rest=resting.get(name)) for name, shown in named]

    async def pause(self, app: str, path: Path, by: str, reason: str, now: Millis) -> None:
        await self._circuits.pause(app, path, by, reason, now)

    async def resume(self, app: str, path: Path) -> None:
        await self._circuits.resume(app, path)


def _as_of(path: Path, changed_at: Millis) -> Condition:
    return Condition(etags=frozenset({credentials_etag(path, changed_at)}))


def _same_project(path: Path, standing: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """Tokens belong to a project and a topic: credentials of another one would make all of them useless."""
    field = {Path.APNS: "topic", Path.FCM: "project_id"}.get(path)
    if field is not None and standing.get(field) not in {None, wanted.get(field)}:
        raise Problem.conflict(
            f"{field} {wanted.get(field)!r} is not that of the stored credentials, {standing[field]!r}: "
            "the registered tokens belong to that one. Delete those credentials first if it is meant"
        )
