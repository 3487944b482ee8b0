"""Durations as the HTTP API writes them: ``200ms``, ``3s``, ``10m``, ``2h``, ``7d``."""

import re

_FORM = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)", re.ASCII)
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


def seconds(text: str) -> float:
    """Seconds of *text*; ValueError where it is no duration."""
    found = _FORM.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no duration such as 200ms, 3s or 10m")
    return float(found[1]) * _SECONDS[found[2]]
