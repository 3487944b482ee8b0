"""Templates at dispatch: texts rendered for every locale before a message is accepted."""

from collections.abc import Sequence

import msgspec

from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import SECOND, Millis
from dispatcher.domain.requests import DispatchRequest
from dispatcher.domain.template import Template
from dispatcher.errors import Problem
from dispatcher.pipeline.templating import render_all

#: How old a template may be that a dispatch is rendered with.
LIFE: Millis = SECOND
MAX_KNOWN = 1_000

_Known = tuple[Template | None, str | None]


class TemplateDesk:
    """Fills dispatches in; those without a template pass untouched."""

    def __init__(self, stores: Stores) -> None:
        self._stores = stores
        self._known: dict[tuple[str, str], tuple[Millis, _Known]] = {}

    async def fill(self, app: str, requests: Sequence[DispatchRequest]) -> list[DispatchRequest | Problem]:
        """In order; Problem 422 where the template is unknown or asks for more."""
        if all(request.template is None for request in requests):
            return list(requests)
        return [
            request if request.template is None else await self._fill(app, request, request.template)
            for request in requests
        ]

    async def _fill(self, app: str, request: DispatchRequest, name: str) -> DispatchRequest | Problem:
        template, app_locale = await self._template(app, name)
        try:
            if template is None:
                raise Problem.invalid("template", "there is no such template")
            return msgspec.structs.replace(request, texts=render_all(template, request, app_locale))
        except Problem as problem:
            # A repeat is answered as the first time, whatever became of the template since.
            known = await self._stores.parts.messages.find(app, request.message_id)
            return request if known is not None else problem

    async def _template(self, app: str, name: str) -> _Known:
        now = self._stores.clock()
        known = self._known.get((app, name))
        if known is not None and now < known[0]:
            return known[1]
        found = await self._stores.templates.get(app, name)
        owner = await self._stores.apps.app(app)
        locale = owner.settings.get("default_locale") if owner is not None else None
        value = (found, locale if isinstance(locale, str) else None)
        if len(self._known) >= MAX_KNOWN:
            self._known.clear()
        self._known[app, name] = (now + LIFE, value)
        return value
