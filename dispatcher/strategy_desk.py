"""What operators ask of strategies: check a document, publish a draft, look at the facts."""

from collections.abc import Mapping
from typing import Any

import msgspec
import yaml

from dispatcher.api.core import DocumentCheck, DocumentFault
from dispatcher.bootstrap import Stores
from dispatcher.domain.clock import Millis
from dispatcher.errors import FieldError, Problem
from dispatcher.ports.directory import NoDraft, StrategyVersion
from strategies.catalogue import CATALOGUE
from strategies.document import parse_document
from strategies.ownership import owned_classes
from strategies.validate import validate


class StrategyDesk:
    """Strategies of all apps, over the ledger's store."""

    def __init__(self, stores: Stores) -> None:
        self.strategies = stores.strategies

    async def validate_strategy(self, app: str, document: str) -> DocumentCheck:
        """Reads and compiles a document (YAML or JSON text); stores nothing."""
        return check_document(document, None)

    async def publish_strategy(self, app: str, name: str, percent: int, by: str, now: Millis) -> StrategyVersion:
        """Judges the draft against the other published ones, then makes it live."""
        draft = await self.strategies.draft(app, name)
        if draft is None:
            raise NoDraft
        published = [parse_document(one.document) for one in await self.strategies.published(app) if one.name != name]
        check = check_document(draft.document, owned_classes(published))
        if check.errors:
            raise Problem.invalid_fields(
                [FieldError(f"{fault.line}:{fault.column}", fault.message) for fault in check.errors]
            )
        return await self.strategies.publish(app, name, percent=percent, by=by, now=now)

    def facts(self) -> Mapping[str, Any]:
        """The fact catalogue."""
        return {
            "facts": [
                {
                    "name": fact.name,
                    "type": fact.type.value,
                    "description": fact.description,
                    "sample": fact.sample,
                    "known": fact.known.value,
                    "values": list(fact.values),
                }
                for fact in CATALOGUE
            ]
        }


def check_document(text: str, owned: Mapping[str, str] | None) -> DocumentCheck:
    """Every fault with its place; name and document where there is none."""
    faults = tuple(
        DocumentFault(problem.line, problem.column, problem.message) for problem in validate(text, owned_classes=owned)
    )
    if faults:
        return DocumentCheck(errors=faults)
    document: dict[str, Any] = msgspec.to_builtins(yaml.safe_load(text), str_keys=True)
    return DocumentCheck(name=document["strategy"], document=document)
