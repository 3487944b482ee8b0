"""From bytes to typed values: JSON bodies, query strings, forms. What cannot be read is 400, what is not valid 422.

Policy: unknown fields and parameters are refused by name, NUL and bad UTF-8 never pass, nesting ends at
:data:`MAX_DEPTH`.
"""

import re
from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec

from dispatcher.api.checks import SPELLINGS
from dispatcher.errors import FieldError, Problem

MAX_DEPTH = 32
_NUL = re.compile(rb"(?<!\\)(?:\\\\)*\\u0000")
_AT = re.compile(r"^(?P<message>.*?)(?: - at `(?P<at>.*)`)?$", re.DOTALL)
_NAMED = re.compile(r"^Object (?:contains unknown field|missing required field) `(?P<name>.*)`$", re.DOTALL)
_PATTERN = re.compile(r"^Expected `str` matching regex (?P<pattern>['\"].*['\"])$", re.DOTALL)
#: By pattern, as the decoder writes it.
PATTERNS = {repr(pattern): f"write {words}" for pattern, words in SPELLINGS.items()}

T = TypeVar("T")


@cache
def _decoder(kind: Hashable) -> "msgspec.json.Decoder[Any]":
    return msgspec.json.Decoder(kind)


def decode(body: bytes, kind: type[T], *, prefix: str = "", parts: bool = False) -> T:
    """*body* as *kind*; raises Problem 400 or 422.

    *prefix*: where the body stands in a larger one. *parts*: it holds ``msgspec.Raw`` parts that are decoded, and their
    texts checked, later and each alone.
    """
    try:
        value: T = _decoder(kind).decode(body)  # type: ignore[arg-type]  # types are hashable
    except msgspec.ValidationError as error:  # a DecodeError too: first
        raise invalid(error, prefix) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem.malformed(f"the body is not JSON in UTF-8: {_said(error)}") from None
    except RecursionError:
        raise too_deep() from None
    if not parts:
        check_text(body, prefix)
    return value


def check_text(body: bytes, prefix: str = "") -> None:
    """Refuses NUL characters and deep nesting in JSON that was read already; the walk is for suspects only."""
    if _NUL.search(body):
        found = _find_nul(msgspec.json.decode(body), prefix)
        raise Problem.invalid(found or prefix, "NUL characters are not allowed")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth(msgspec.json.decode(body)) > MAX_DEPTH:
        raise too_deep()


def too_deep() -> Problem:
    """400 for nesting beyond bounds."""
    return Problem.malformed(f"the body is nested deeper than {MAX_DEPTH} levels")


def _said(error: Exception) -> str:
    """The decoder's reason without any of the body."""
    return error.reason if isinstance(error, UnicodeDecodeError) else str(error)


def invalid(error: msgspec.ValidationError, prefix: str = "") -> Problem:
    """msgspec's sentence as a field error: ``Expected `int` - at `$.to.user_ids[3]``` names ``to.user_ids[3]``."""
    match = _AT.match(str(error))
    message, at = (match["message"], match["at"] or "") if match else (str(error), "")
    field = at.removeprefix("key` in `").strip("`").lstrip("$").lstrip(".")
    message = _in_words(message)
    named = _NAMED.match(message)
    if named is not None:
        field = f"{field}.{named['name']}" if field else named["name"]
        message = "unknown field" if "unknown" in message else "required"
    return Problem.invalid(join(prefix, field), message)


def _in_words(message: str) -> str:
    """Instead of a pattern what to write."""
    found = _PATTERN.match(message)
    return PATTERNS.get(found["pattern"], message) if found is not None else message


def join(prefix: str, field: str) -> str:
    """A field's path behind *prefix*."""
    return f"{prefix}.{field}" if prefix and field and not field.startswith("[") else prefix + field


def _find_nul(value: Any, at: str) -> str | None:
    if isinstance(value, str):
        return at if "\0" in value else None
    if isinstance(value, dict):
        for key, member in value.items():
            path = join(at, key.replace("\0", "\\u0000"))
            found = path if "\0" in key else _find_nul(member, path)
            if found is not None:
                return found
    if isinstance(value, list):
        for index, member in enumerate(value):
            found = _find_nul(member, f"{at}[{index}]")
            if found is not None:
                return found
    return None


def _depth(value: Any) -> int:
    """Nesting of *value*, level by level so that depth costs no stack."""
    depth, level = 0, [value]
    while level:
        level = [
            member
            for container in level
            if isinstance(container, dict | list)
            for member in (container.values() if isinstance(container, dict) else container)
        ]
        depth += 1
    return depth - 1


def _pairs(text: bytes, what: str) -> list[tuple[str, str]]:
    try:
        pairs = parse_qsl(text.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=200)
    except UnicodeDecodeError:
        raise Problem.malformed(f"the {what} is not UTF-8") from None
    except ValueError:
        raise Problem.malformed(f"the {what} has too many fields") from None
    if any("\0" in part for pair in pairs for part in pair):
        raise Problem.malformed(f"the {what} contains a NUL character")
    return pairs


def read_query(text: bytes, kind: type[T]) -> T:
    """A query string as *kind*. Unknown and repeated parameters are refused by name."""
    values: dict[str, str] = {}
    for name, value in _pairs(text, "query"):
        if name in values:
            raise Problem.invalid(name, "given twice")
        values[name] = value
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        found = invalid(error)
        if not text:
            raise found from None
        raise Problem.invalid_fields(
            [FieldError(fault.field, fault.message.replace("field", "parameter")) for fault in found.errors]
        ) from None


def read_form(body: bytes) -> dict[str, str]:
    """A form body; of a repeated field the last."""
    return dict(_pairs(body, "form"))
