"""Users as the IM backend knows them."""

from typing import Any

from litestar import delete, get, put
from msgspec import UNSET

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.checks import calling_code, check_zone, masked_number
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core, Sealer
from dispatcher.api.schemas.people import QuietHours, UserIn, UserOut
from dispatcher.api.schemas.shared import NoParams
from dispatcher.domain.device import Profile
from dispatcher.errors import Problem
from dispatcher.ports.directory import UserChange

_USERS = scopes(Scope.USERS)


def _values(user: UserIn, sealer: Sealer) -> dict[str, Any]:
    """The fields that were sent, in the directory's words; a number leaves this function sealed."""
    values: dict[str, Any] = {
        name: value
        for name in ("phone_verified", "locale", "time_zone", "sms_opt_in")
        if (value := getattr(user, name)) is not UNSET
    }
    if user.muted_classes is not UNSET:
        values["muted_classes"] = tuple(dict.fromkeys(user.muted_classes))
    if user.quiet_hours is not UNSET:
        hours = user.quiet_hours
        values["quiet_from"] = hours.from_ if hours is not None else None
        values["quiet_to"] = hours.to if hours is not None else None
    if user.phone is not UNSET:
        number = user.phone
        values["phone"] = sealer.seal(number.encode()) if number is not None else None
        values["phone_hash"] = sealer.number_hash(number) if number is not None else None
        values["phone_country"] = calling_code(number) if number is not None else None
    return values


def shown_user(core: Core, profile: Profile) -> UserOut:
    """As the API shows a user."""
    number = core.sealer.open(profile.phone).decode() if profile.phone is not None else None
    quiet = profile.quiet_from is not None and profile.quiet_to is not None
    return UserOut(
        user_id=profile.user_id,
        phone=masked_number(number) if number is not None else None,
        phone_verified=profile.phone_verified,
        locale=profile.locale,
        time_zone=profile.time_zone,
        quiet_hours=QuietHours(from_=profile.quiet_from or "", to=profile.quiet_to or "") if quiet else None,
        sms_opt_in=profile.sms_opt_in,
        muted_classes=list(profile.muted_classes),
        devices=[device.device_id for device in profile.devices],
    )


@put(
    "/v1/users/{user_id:str}",
    opt=Contract(
        summary="Create or change a user",
        tag="Users",
        scopes=_USERS,
        body=UserIn,
        query=NoParams,
        answers={201: UserOut, 200: UserOut},
    ).opt(),
)
async def put_user(request: HttpRequest) -> Answer:
    """201 new, 200 changed. A changed number gets no SMS for a while; a first one is usable at once."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "user_id")
    user = decode(await request.body(), UserIn)
    check_zone("time_zone", user.time_zone if user.time_zone is not UNSET else None)
    if isinstance(user.quiet_hours, QuietHours) and user.quiet_hours.from_ == user.quiet_hours.to:
        raise Problem.invalid("quiet_hours.to", "the window has no length")
    now = core.clock()
    change = UserChange(
        app=backend.app,
        user_id=wanted,
        values=_values(user, core.sealer),
        changed_phone_usable_from=now + core.settings.phone_change_cooldown,
        by=backend.name,
    )
    before = (await core.directory.profiles(backend.app, [wanted])).get(wanted)
    profile, new = await core.directory.put_user(change, now)
    await core.profiles.put([profile])
    await core.user_changed(before, profile)
    return answer(shown_user(core, profile), 201 if new else 200)


@get(
    "/v1/users/{user_id:str}",
    opt=Contract(
        summary="A user, the number masked",
        tag="Users",
        scopes=_USERS,
        query=NoParams,
        answers={200: UserOut},
        problems=(404,),
    ).opt(),
)
async def get_user(request: HttpRequest) -> Answer:
    """From the ledger, not from the hot copy."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "user_id")
    profile = (await core.directory.profiles(backend.app, [wanted])).get(wanted)
    if profile is None:
        raise Problem.not_found("user")
    return answer(shown_user(core, profile))


@delete(
    "/v1/users/{user_id:str}",
    status_code=200,  # the answer says 204 itself; Litestar refuses that for a handler that returns one
    opt=Contract(
        summary="Erase a user everywhere",
        tag="Users",
        scopes=_USERS,
        query=NoParams,
        answers={204: None},
        problems=(404,),
    ).opt(),
)
async def delete_user(request: HttpRequest) -> Answer:
    """Devices, tokens, inbox, what is in flight, and message contents addressed to them only."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    if not await core.erase_user(backend.app, path_id(request, "user_id"), backend.name, core.clock()):
        raise Problem.not_found("user")
    return no_content()


ROUTES = (put_user, get_user, delete_user)
