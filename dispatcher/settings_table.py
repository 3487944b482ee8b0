"""All settings as docs, ``pushpath doctor`` and the reader know them, from the types in dispatcher.settings."""

from typing import Any, Literal, get_type_hints

import msgspec
from msgspec import Meta
from msgspec import inspect as types

from dispatcher.domain.requests import write_duration
from dispatcher.secret import Secret
from dispatcher.settings import PREFIX, Settings

Kind = Literal["text", "secret", "number", "switch", "duration", "list", "table", "choice"]


class SettingInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One setting as docs and ``pushpath doctor`` show it."""

    name: str
    variable: str
    kind: Kind
    required: bool
    default: str | None
    description: str
    bounds: str = ""


def shown(settings: Settings) -> dict[str, Any]:
    """Every value as it may be shown: secrets masked."""
    values: dict[str, Any] = {}
    for name in settings.__struct_fields__:
        value = getattr(settings, name)
        if isinstance(value, Secret):
            value = value.masked
        elif isinstance(value, tuple):
            value = [item.masked if isinstance(item, Secret) else item for item in value]
        values[name] = value
    return values


def _kind(found: types.Type) -> Kind:
    match found:
        case types.Metadata():
            return "duration" if (found.extra or {}).get("kind") == "duration" else _kind(found.type)
        case types.UnionType():
            return _kind(next(kind for kind in found.types if not isinstance(kind, types.NoneType)))
        case types.CustomType():
            return "secret"
        case types.VarTupleType():
            return "list"
        case types.DictType():
            return "table"
        case types.BoolType():
            return "switch"
        case types.IntType() | types.FloatType():
            return "number"
        case types.EnumType():
            return "choice"
        case _:
            return "text"


def fields() -> dict[str, tuple[Kind, types.Field]]:
    info = types.type_info(Settings)
    assert isinstance(info, types.StructType)  # noqa: S101 - tells mypy what a Struct's info is
    return {field.name: (_kind(field.type), field) for field in info.fields}


def describe_settings() -> list[SettingInfo]:
    """All settings, in the order of the file, for docs and ``pushpath doctor``."""
    hints = get_type_hints(Settings, include_extras=True)
    found = []
    for name, (kind, field) in fields().items():
        meta = next((part for part in getattr(hints[name], "__metadata__", ())[::-1] if part.description), Meta())
        metas = getattr(hints[name], "__metadata__", ())
        low = next((part.ge for part in metas if part.ge is not None), None)
        high = next((part.le for part in metas if part.le is not None), None)
        default = None if field.required else _write(kind, _default(field))
        found.append(
            SettingInfo(
                name=name,
                variable=PREFIX + name.upper(),
                kind=kind,
                required=field.required,
                default=default,
                description=meta.description or "",
                bounds=f"{low} to {high}" if high is not None else "",
            )
        )
    return found


def _default(field: types.Field) -> Any:
    return field.default if field.default is not msgspec.NODEFAULT else field.default_factory()


def _write(kind: Kind, value: Any) -> str | None:
    if value is None:
        return None
    if kind == "duration":
        return write_duration(value)
    if kind == "list":
        return ",".join(value)
    return "true" if value is True else "false" if value is False else str(value or "")


#: Kind by key.
KNOWN: dict[str, Kind] = {name: kind for name, (kind, _) in fields().items()}
REQUIRED = tuple(name for name, (_, field) in fields().items() if field.required)
