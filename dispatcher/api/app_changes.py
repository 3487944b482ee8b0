"""Changing an app so that nothing is lost of what others change of it at the same moment."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dispatcher.domain.etag import ALWAYS, Condition, Stale
from dispatcher.ports.directory import App, Apps

#: How often a change is laid onto what others have changed meanwhile.
TRIES = 20
#: Which of the values stand in the app's settings; None takes one out.
RULES = ("classes", "rate_per_key", "rate_per_device", "default_locale")


async def change_app(apps: Apps, app: App, values: Mapping[str, Any], condition: Condition = ALWAYS) -> App:
    """The app with *values* (``name``, ``time_zone`` and :data:`RULES`); what they leave out stays as it is by then.

    Raises :class:`~dispatcher.domain.etag.Stale` where *condition* does not hold or the app is gone.
    """
    standing: App | None = app
    for _ in range(TRIES):
        condition.hold(None if standing is None else standing.etag)
        if standing is None:
            break
        changed = changed_app(standing, values)
        try:
            await apps.change_app(changed, standing=standing)
        except Stale:  # changed since it was read: onto what stands there now
            standing = await apps.app(app.app_id)
            continue
        return changed
    raise Stale


def changed_app(app: App, values: Mapping[str, Any]) -> App:
    """As it would be."""
    settings = {**app.settings, **{name: values[name] for name in RULES if name in values}}
    return replace(
        app,
        name=values.get("name", app.name),
        time_zone=values.get("time_zone", app.time_zone),
        settings={name: value for name, value in settings.items() if value is not None},
    )
