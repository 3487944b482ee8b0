"""Learning: every number the engine used, pinned by hand where an operator knows better, and switched off."""

from litestar import delete, get, put

from dispatcher.api.access import HttpRequest, backend_of
from dispatcher.api.answers import Answer, answer, core_of, no_content, path_id
from dispatcher.api.bodies import decode, read_query
from dispatcher.api.contract import Contract, Scope, scopes
from dispatcher.api.core import Core
from dispatcher.api.schemas.shared import NoParams
from dispatcher.api.schemas.strategies import LearningIn, LearningOut, PinIn, PinOut
from dispatcher.domain.paths import Path
from dispatcher.errors import Problem
from strategies.learn import Pin, device_key

_STRATEGIES = scopes(Scope.STRATEGIES)
_DEVICE = "/v1/learning/devices/{device_id:str}/{path:str}"
_SEGMENT = "/v1/learning/segments/{segment:str}"


async def _whole(core: Core, app: str) -> LearningOut:
    settings = await core.strategies.learning(app)
    pins = [PinOut(key=key, ack_rate=pin.ack_rate, p95_s=pin.p95_s) for key, pin in sorted(settings.pins.items())]
    return LearningOut(enabled=settings.enabled, pins=pins, segments=dict(await core.learned_segments(app)))


@get(
    "/v1/learning",
    opt=Contract(
        summary="What is learned, pinned and switched",
        tag="Learning",
        scopes=_STRATEGIES,
        query=NoParams,
        answers={200: LearningOut},
    ).opt(),
)
async def learning(request: HttpRequest) -> Answer:
    """Segments are devices alike: path, platform, manufacturer, app version, country. A device's own: its address."""
    core, app = core_of(request), backend_of(request).app
    read_query(request.scope["query_string"], NoParams)
    return answer(await _whole(core, app))


@put(
    "/v1/learning",
    opt=Contract(
        summary="Switch learning on or off",
        tag="Learning",
        scopes=_STRATEGIES,
        body=LearningIn,
        query=NoParams,
        answers={200: LearningOut},
    ).opt(),
)
async def switch(request: HttpRequest) -> Answer:
    """Off: rules see pinned values only, `auto` waits are the longest allowed. Receipts go on being counted."""
    core, backend = core_of(request), backend_of(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), LearningIn)
    await core.strategies.switch_learning(backend.app, wanted.enabled, by=backend.name, now=core.clock())
    return answer(await _whole(core, backend.app))


def _key(request: HttpRequest) -> str:
    if "segment" in request.path_params:
        segment = path_id(request, "segment")
        if not segment.startswith("s:"):
            raise Problem.invalid("segment", "write a segment's key as GET /v1/learning lists them: s:fcm:android:...")
        return segment
    text = path_id(request, "path")
    try:
        return device_key(path_id(request, "device_id"), Path(text))
    except ValueError:
        raise Problem.invalid("path", f"write one of {', '.join(Path)}") from None


def _pinning(summary: str) -> Contract:
    return Contract(
        summary=summary, tag="Learning", scopes=_STRATEGIES, body=PinIn, query=NoParams, answers={200: PinOut}
    )


async def _pin(request: HttpRequest) -> Answer:
    core, backend, key = core_of(request), backend_of(request), _key(request)
    read_query(request.scope["query_string"], NoParams)
    wanted = decode(await request.body(), PinIn)
    if wanted.ack_rate is None and wanted.p95_s is None:
        raise Problem.invalid("ack_rate", "give ack_rate, p95_s or both; DELETE takes a pin away")
    pin = Pin(ack_rate=wanted.ack_rate, p95_s=wanted.p95_s)
    await core.strategies.pin(backend.app, key, pin, by=backend.name, now=core.clock())
    return answer(PinOut(key=key, ack_rate=pin.ack_rate, p95_s=pin.p95_s))


def _unpinning(summary: str) -> Contract:
    return Contract(
        summary=summary, tag="Learning", scopes=_STRATEGIES, query=NoParams, answers={204: None}, problems=(404,)
    )


async def _unpin(request: HttpRequest) -> Answer:
    core, backend, key = core_of(request), backend_of(request), _key(request)
    read_query(request.scope["query_string"], NoParams)
    if not await core.strategies.pin(backend.app, key, None, by=backend.name, now=core.clock()):
        raise Problem.not_found("pin")
    return no_content()


@put(_DEVICE, opt=_pinning("Pin a device's values on a path").opt())
async def pin_device(request: HttpRequest) -> Answer:
    """Planning uses them instead of what receipts taught, within a second."""
    return await _pin(request)


@put(_SEGMENT, opt=_pinning("Pin a segment's values on a path").opt())
async def pin_segment(request: HttpRequest) -> Answer:
    """For all devices of the segment that are not pinned themselves."""
    return await _pin(request)


@delete(_DEVICE, status_code=200, opt=_unpinning("Take a device's pin away").opt())
async def unpin_device(request: HttpRequest) -> Answer:
    """Receipts count again."""
    return await _unpin(request)


@delete(_SEGMENT, status_code=200, opt=_unpinning("Take a segment's pin away").opt())
async def unpin_segment(request: HttpRequest) -> Answer:
    """Receipts count again."""
    return await _unpin(request)


ROUTES = (learning, switch, pin_device, pin_segment, unpin_device, unpin_segment)
