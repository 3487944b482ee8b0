"""How many pushes a device gets: as many as its strategy allows, and of those that show nothing as many as Apple does.

Over a cap a track goes on to its next step (``cap_device``); a repeat of the same attempt costs nothing.
"""

from collections.abc import Callable, Sequence

from dispatcher.domain.clock import HOUR, Millis
from dispatcher.domain.device import VOIP
from dispatcher.domain.paths import Path
from dispatcher.pipeline.follow import fail
from dispatcher.pipeline.jobs import Job
from dispatcher.pipeline.parts import Parts
from dispatcher.ports.provider import Attempt

Work = list[tuple[Job, Attempt]]
#: Meter, at most so many, in so many ms; None: not limited.
Cap = tuple[str, int, Millis] | None


async def under_caps(app: str, path: Path, work: Work, parts: Parts, now: Millis) -> Work:
    """Those whose device may get another push now; the others go on to their next step."""
    hourly = parts.rules.background_pushes_per_hour

    def of_apple(job: Job, attempt: Attempt) -> Cap:
        limited = hourly and is_background(path, attempt)
        return (f"{attempt.device_id}|background", hourly, HOUR) if limited else None

    def of_strategy(job: Job, attempt: Attempt) -> Cap:
        rate = job.ladder.push.per_device if job.ladder.push is not None else None
        return (attempt.device_id or "", rate.count, rate.window_ms) if rate is not None else None

    for cap in (of_apple, of_strategy):
        work = await _under(cap, app, path, work, parts, now)
    return work


def is_background(path: Path, attempt: Attempt) -> bool:
    """Whether Apple counts it among the pushes that wake an app unseen, of which it delivers two or three an hour.

    https://developer.apple.com/documentation/usernotifications/pushing-background-updates-to-your-app
    """
    to_apple = path is Path.APNS or (path is Path.FCM and attempt.platform == "ios")
    return to_apple and not attempt.shows_alert and (attempt.token is None or attempt.token.kind != VOIP)


async def _under(
    cap: Callable[[Job, Attempt], Cap], app: str, path: Path, work: Work, parts: Parts, now: Millis
) -> Work:
    caps: Sequence[Cap] = [cap(job, attempt) if job.before.attempt == 0 else None for job, attempt in work]
    limited = [index for index, found in enumerate(caps) if found is not None]
    if not limited:
        return work
    allowed = await parts.push_caps.take(app, [found for found in caps if found is not None], now)
    over = {index for index, may in zip(limited, allowed, strict=True) if not may}
    for index in over:
        job = work[index][0]
        job.draft.skip(job.place, job.track, job.before.step, path, "cap_device")
        await fail(job, path, parts, now, "cap_device")
    return [pair for index, pair in enumerate(work) if index not in over]
