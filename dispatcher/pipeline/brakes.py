"""Brakes: what a provider asked every worker of an app, or all that goes to one device, to wait for."""

from collections.abc import Iterable

from dispatcher.domain.clock import Millis
from dispatcher.domain.outcome import Outcome, RetryLater
from dispatcher.domain.paths import Path
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.throttle import Brakes

FREE = Brakes()


def brake_key(app: str, path: Path) -> str:
    """Brakes are kept for each app and path: another app's credentials, or another provider, are never slowed."""
    return f"{app}:{path}"


def ends_at(brakes: Brakes, device_id: str | None, now: Millis) -> tuple[Millis, Millis]:
    """(since, until) of the brake that binds a device now; until 0 where it is free."""
    own = brakes.members.get(device_id or "", 0)
    if max(own, brakes.until) <= now:
        return now, 0
    return (now, own) if own > brakes.until else (brakes.since, brakes.until)


async def set_brakes(
    app: str, path: Path, results: Iterable[tuple[str | None, Outcome]], parts: Parts, now: Millis
) -> None:
    """What one batch's answers, by device, ask others to wait for; the longest wish counts."""
    longest: Millis = 0
    devices: dict[str, Millis] = {}
    for device_id, outcome in results:
        if not isinstance(outcome, RetryLater) or not outcome.after_ms:
            continue
        if outcome.brake:
            longest = max(longest, outcome.after_ms)
        elif outcome.device and device_id:
            devices[device_id] = max(devices.get(device_id, 0), now + outcome.after_ms)
    if longest:
        await parts.throttle.brake(brake_key(app, path), now + longest, now)
    if devices:
        await parts.throttle.brake_members(brake_key(app, path), devices, now)
