"""Facts as the engine reads them: one flat tuple in catalogue order, None where a fact is missing.

Groups are contiguous (message, user, device, shared), so a row is four smaller tuples joined: what is shared by a
batch is made once. `group_row` makes such a part from trusted values; `row_from` checks outsiders' values.
"""

from __future__ import annotations

from collections.abc import Mapping
from operator import itemgetter
from typing import TypeAlias

from strategies.catalogue import CATALOGUE, INDEX, Fact, Group, Type

FactValue: TypeAlias = str | bool | int | float
Row: TypeAlias = tuple[FactValue | None, ...]

GROUP_NAMES: Mapping[Group, tuple[str, ...]] = {
    group: tuple(fact.name for fact in CATALOGUE if fact.group is group) for group in Group
}
"""The facts of each part of a row, in order."""

_INT_RANGE = range(-(2**63), 2**63)


class FactsInvalid(ValueError):
    """Facts that the catalogue does not know or that have another type. `faults` maps the name to what is wrong."""

    def __init__(self, faults: Mapping[str, str]) -> None:
        self.faults = dict(faults)
        super().__init__("; ".join(f"{name}: {fault}" for name, fault in self.faults.items()))


def group_row(group: Group, values: Mapping[str, FactValue | None]) -> Row:
    """One part of a row from trusted values by dotted name; what is left out is missing."""
    return tuple(map(values.get, GROUP_NAMES[group]))


def join(message: Row, user: Row, device: Row, shared: Row) -> Row:
    """A whole row from its four parts."""
    return message + user + device + shared


def vendor_path(platform: object, has_apns: object, has_fcm: object) -> str | None:
    """The path `push` stands for: apns before fcm on iOS, else fcm before apns; without a token the platform's own."""
    if platform == "ios":
        return "fcm" if has_fcm and not has_apns else "apns"
    if has_fcm:
        return "fcm"
    if has_apns:
        return "apns"
    return "fcm" if platform == "android" else None


def row_from(facts: Mapping[str, object]) -> Row:
    """A row from outsiders' values, flat (`{"device.platform": "ios"}`) or nested (`{"device": {"platform": "ios"}}`).

    Checked against the catalogue (FactsInvalid names every fault); whole numbers are taken for doubles. The `push`
    facts are filled in from the vendor path's where they are left out.
    """
    faults: dict[str, str] = {}
    values: dict[str, FactValue] = {}
    for name, value in _flat(facts):
        place = INDEX.get(name)
        if place is None:
            faults[name] = "unknown fact; GET /v1/facts lists them"
            continue
        if value is None:
            continue
        checked = _checked(CATALOGUE[place], value)
        if checked is None:
            faults[name] = f"must be {_wanted(CATALOGUE[place])}"
        else:
            values[name] = checked
    if faults:
        raise FactsInvalid(faults)
    return tuple(map(with_push(values).get, (fact.name for fact in CATALOGUE)))


def with_push(values: Mapping[str, FactValue]) -> Mapping[str, FactValue]:
    """The same facts with those of `push` filled in from the device's vendor path."""
    own = vendor_path(values.get("device.platform"), values.get("device.token.apns"), values.get("device.token.fcm"))
    if own is None:
        return values
    filled = dict(values)
    for stem in ("device.ack_rate.{}", "device.p95_s.{}", "path.{}.healthy", "path.{}.success_rate", "path.{}.p95_s"):
        if (value := values.get(stem.format(own))) is not None:
            filled.setdefault(stem.format("push"), value)
    return filled


def facts_of(row: Row) -> dict[str, FactValue]:
    """The facts of a row by name, without the missing ones."""
    return {fact.name: value for fact, value in zip(CATALOGUE, row, strict=True) if value is not None}


def picker(names: tuple[str, ...]) -> itemgetter[tuple[FactValue | None, ...]]:
    """Picks these facts from a row as a tuple, fast. At least two names (one picks a bare value)."""
    return itemgetter(*(INDEX[name] for name in names))


def _flat(facts: Mapping[str, object], prefix: str = "", depth: int = 0) -> list[tuple[str, object]]:
    found: list[tuple[str, object]] = []
    for key, value in facts.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and depth < 4:
            found += _flat(value, f"{name}.", depth + 1)
        else:
            found.append((name, value))
    return found


def _checked(fact: Fact, value: object) -> FactValue | None:
    match fact.type, value:
        case (Type.BOOL, bool()):
            return value
        case (Type.STRING, str()):
            return value if not fact.values or value in fact.values else None
        case (Type.INT, int()) if not isinstance(value, bool) and value in _INT_RANGE:
            return value
        case (Type.DOUBLE, int() | float()) if not isinstance(value, bool) and value == value:
            return float(value) if abs(value) < 1e300 else None
    return None


def _wanted(fact: Fact) -> str:
    if fact.values:
        return f"one of {', '.join(fact.values)}"
    return {"string": "a string", "bool": "true or false", "int": "a whole number", "double": "a number"}[fact.type]
