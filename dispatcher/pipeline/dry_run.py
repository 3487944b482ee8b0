"""A dry run: who would get it by which ladder, and why. Stores and sends nothing."""

from typing import Any

from dispatcher.domain.clock import Millis
from dispatcher.domain.device import Profile
from dispatcher.domain.requests import DispatchRequest
from dispatcher.pipeline.accept import Acceptor, build_message, unknown_user
from dispatcher.pipeline.parts import Parts
from dispatcher.pipeline.plan import devices_for, facts_of
from dispatcher.pipeline.templating import localised, variant_of
from dispatcher.ports.homes import Recipient
from strategies.engine import plan as plan_device
from strategies.explain import ladder_view, planned_detail


async def dry_run(app: str, request: DispatchRequest, acceptor: Acceptor, parts: Parts, now: Millis) -> dict[str, Any]:
    """The answer of a dispatch with ``dry_run``."""
    (addressed,) = await acceptor.address(app, [request])
    message = build_message(app, request, now)
    shelf = await parts.book.shelf(app)
    known = await parts.facts.know(app, addressed.user_ids, now, shelf.learning)
    shared = await parts.facts.shared(app, shelf.budgets, now, parts.rules.default_zone)
    recipients: list[dict[str, Any]] = []
    for user_id in addressed.user_ids:
        profile = known.profiles.get(user_id) or Profile(app=app, user_id=user_id)
        named = addressed.device_ids.get(user_id)
        probe = Recipient(place=0, message=0, user_id=user_id, seq=0, prev_seq=0, devices=named)
        devices = devices_for(probe, profile, parts.rules.max_devices)
        if devices is None:
            unknown = [one for one in named or () if user_id == unknown_user(one)]
            recipients.append(
                {
                    "user_id": None,
                    "tracks": [],
                    "suppressed": "unknown_device",
                    "device_ids": unknown or list(named or ()),
                }
            )
            continue
        strategy = shelf.pick(message.klass, message.strategy, user_id)
        read = localised(message, request.texts[variant_of(request.texts, profile)]) if request.texts else message
        tracks = []
        for device in devices:
            made = plan_device(facts_of(read, profile, device, known, strategy, shared, now), strategy)
            tracks.append(
                {
                    "device_id": device.device_id or None,
                    "platform": device.platform.value,
                    "rule": made.rule,
                    "explanation": planned_detail(made),
                    "ladder": ladder_view(made.ladder),
                }
            )
        recipients.append({"user_id": user_id, "tracks": tracks})
    return {"recipients": recipients}
