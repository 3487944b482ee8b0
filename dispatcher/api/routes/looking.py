"""Looking: figures, deliveries, dead letters with replay."""

from typing import Any

from litestar import get, post

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, path_id
from dispatcher.api.bodies import read_query
from dispatcher.api.checks import read_time
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.figures import read_by, row_of, rows_of, tier_for, whole_buckets
from dispatcher.api.routes.apps import note
from dispatcher.api.routes.webhooks import replay_webhook
from dispatcher.api.schemas.looking import (
    STATES,
    DeadLetterOut,
    DeadLetterParams,
    DeadLettersOut,
    DeadWebhookOut,
    DeliveriesOut,
    DeliveriesParams,
    ReplayedOut,
    StatsOut,
    StatsParams,
    dead_webhook,
    delivery_out,
)
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.webhooks import ReplayedEventsOut
from dispatcher.domain.clock import DAY, Millis, rfc3339
from dispatcher.domain.ids import DeliveryRef
from dispatcher.errors import Problem
from dispatcher.ports.operations import By, ListedDelivery, Wanted
from dispatcher.ports.webhooks import WEBHOOK_PREFIX

_READ = scopes(Scope.READ)
_ADMIN = scopes(Scope.ADMIN)
_STEP = ("1m", "1h", "1d")


def _reading(summary: str, **more: Any) -> Contract:
    return Contract(summary=summary, tag="Looking", scopes=_READ, **{"query": NoParams, **more})


def _changing(summary: str, **more: Any) -> Contract:
    return Contract(summary=summary, tag="Looking", scopes=_ADMIN, query=NoParams, **more)


def _span(since: str | None, until: str | None, default: Millis | None, now: Millis) -> tuple[Millis, Millis]:
    """Times as asked for, else the last *default* milliseconds (None: everything there is)."""
    last = read_time("to", until) if until is not None else now + 1
    first = read_time("from", since) if since is not None else last - default if default is not None else 0
    if first >= last:
        raise Problem.invalid("from", "lies behind to")
    return first, last


@get("/v1/stats", opt=_reading("Figures", query=StatsParams, answers={200: StatsOut}).opt())
async def stats(request: HttpRequest) -> Answer:
    """From roll-ups, exact to the moment; the last 24 hours where nothing else is said.

    Everything is counted in the bucket in which its message was accepted, so that shares are of the same deliveries;
    outcomes and SMS segments in that of their attempt. Buckets of minutes reach back 3 days, of hours 100, of days 800.
    """
    core, app = core_of(request), backend_of(request).app
    params = read_query(request.scope["query_string"], StatsParams)
    now = core.clock()
    first, last = _span(params.from_, params.to, DAY, now)
    by = read_by(params.by)
    tier = tier_for(first, last, params.step, by, now)
    first, last = whole_buckets(first, last, tier)
    found = await core.operations.figures(app, tier, first, last, [*by, By.PATH], klass=params.class_)
    return answer(
        StatsOut(
            from_=rfc3339(first),
            to=rfc3339(last),
            step=_STEP[tier],
            as_of=rfc3339(now),
            by=[one.value for one in by],
            totals=row_of(found, set()),
            rows=rows_of(found, by),
        )
    )


def _states(text: str | None) -> frozenset[str] | None:
    if text is None:
        return None
    names = frozenset(part.strip() for part in text.split(",") if part.strip())
    unknown = sorted(names - set(STATES))
    if unknown or not names:
        raise Problem.invalid("state", f"write some of {', '.join(STATES)}, separated by commas")
    return names


def _position(text: str | None) -> DeliveryRef | None:
    if text is None:
        return None
    home = int(text[:16], 16)
    if home >= 2**63:
        raise Problem.invalid("before", "write a page's next")
    return DeliveryRef(home, int(text[16:], 16))


def _written(ref: DeliveryRef | None) -> str | None:
    return None if ref is None else f"{ref.home:016x}{ref.place:04x}"


@get("/v1/deliveries", opt=_reading("Deliveries", query=DeliveriesParams, answers={200: DeliveriesOut}).opt())
async def deliveries(request: HttpRequest) -> Answer:
    """Newest first, by when they were accepted; open ones (from the hot store) among archived ones (from the ledger).

    ``state`` takes several, separated by commas. ``device_id`` finds what its present user's plans had for it. Pages
    are stable: what arrives or settles meanwhile is neither shown twice nor left out. A page looks into 40 open homes
    at most (up to 20,000 deliveries); where that was not enough it is short, and ``next`` goes on.
    """
    core, app = core_of(request), backend_of(request).app
    params = read_query(request.scope["query_string"], DeliveriesParams)
    now = core.clock()
    first, last = _span(params.from_, params.to, None, now)
    wanted = Wanted(
        app=app,
        user_id=params.user_id,
        device_id=params.device_id,
        klass=params.class_,
        since=first if params.from_ is not None else None,
        until=last if params.to is not None else None,
    )
    page = await core.operations.listed(wanted, _states(params.state), _position(params.before), params.limit, now)
    return answer(DeliveriesOut([delivery_out(row, _id(core, app, row)) for row in page.rows], _written(page.next)))


def _id(core: Core, app: str, row: ListedDelivery) -> str:
    return core.operations.delivery_id(app, row.user_id, row.ref)


@get("/v1/dead-letters", opt=_reading("Dead letters", query=DeadLetterParams, answers={200: DeadLettersOut}).opt())
async def dead_letters(request: HttpRequest) -> Answer:
    """Deliveries that ended ``exhausted``: every step was tried or ruled out, and nothing was proven.

    A late receipt takes one off the list. Pages as in ``GET /v1/deliveries``. With ``kind=webhook``: webhooks that were
    given up, with what waits for them.
    """
    core, app = core_of(request), backend_of(request).app
    params = read_query(request.scope["query_string"], DeadLetterParams)
    if params.kind == "webhook":
        found = [one for one in await core.webhooks.store.of_app(app) if one.given_up]
        return answer(DeadLettersOut([dead_webhook(one) for one in found], None))
    now = core.clock()
    first, last = _span(params.from_, params.to, None, now)
    wanted = Wanted(
        app=app,
        user_id=params.user_id,
        klass=params.class_,
        since=first if params.from_ is not None else None,
        until=last if params.to is not None else None,
    )
    page = await core.operations.listed(wanted, frozenset({"exhausted"}), _position(params.before), params.limit, now)
    replays = await core.operations.replays(app, [row.ref for row in page.rows])
    letters: list[DeadLetterOut | DeadWebhookOut] = [
        DeadLetterOut(
            id=_id(core, app, row),
            message_id=row.message_id,
            user_id=row.user_id,
            class_=row.klass,
            at=rfc3339(row.settled_at if row.settled_at is not None else row.accepted_at),
            accepted_at=rfc3339(row.accepted_at),
            rule=row.rule,
            replayed_as=replays[row.ref].message_id if row.ref in replays else None,
        )
        for row in page.rows
    ]
    return answer(DeadLettersOut(letters, _written(page.next)))


@post(
    "/v1/dead-letters/{id:str}/replay",
    status_code=202,
    opt=_changing(
        "Send a dead letter again", answers={202: (ReplayedOut, ReplayedEventsOut)}, problems=(404, 409)
    ).opt(),
)
async def replay(request: HttpRequest) -> Answer:
    """To its user alone, under a new message id, planned with the strategy that is live now; it may cost another SMS.

    Asked for again it answers the same. Of a webhook: it goes on, with what waits, oldest first.
    """
    core, caller = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = path_id(request, "id")
    if wanted.startswith(WEBHOOK_PREFIX):
        return answer(await replay_webhook(core, caller, wanted), 202)
    made = await core.operations.replay(caller.app, wanted, caller.name, core.clock())
    await note(core, caller, "dead_letter.replay", wanted, message_id=made["message_id"])
    return answer(ReplayedOut(**made), 202)


ROUTES = (stats, deliveries, dead_letters, replay)
