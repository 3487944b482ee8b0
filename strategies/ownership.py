"""Which published strategy owns a class: the one that names it, else `default`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from strategies.document import Document
from strategies.validate import DEFAULT_STRATEGY


def owned_classes(published: Iterable[Document]) -> dict[str, str]:
    """Each class that a published strategy names, and that strategy. `default` owns what is left, so names nothing."""
    return {
        name: document.name
        for document in published
        if document.name != DEFAULT_STRATEGY
        for name in document.classes or ()
    }


def owner_of(message_class: str, owned: Mapping[str, str]) -> str:
    """The strategy that plans a class nobody asked a strategy by name for."""
    return owned.get(message_class, DEFAULT_STRATEGY)
