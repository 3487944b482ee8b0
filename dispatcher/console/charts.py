"""Chart options for ECharts, in the console's colours. Data in, plain values out."""

from collections.abc import Mapping, Sequence
from typing import Any

from dispatcher.console.api import read_time
from dispatcher.console.palette import ink, path_colour
from dispatcher.console.words import PATHS, path_name

Options = dict[str, Any]
Row = Mapping[str, Any]


def millis(text: str) -> int:
    """RFC 3339 as ECharts' time axis takes it; it draws in the browser's own zone."""
    return int(read_time(text).timestamp() * 1000)


def _base(*, dark: bool) -> Options:
    colours = ink(dark=dark)
    axis = {
        "axisLine": {"lineStyle": {"color": colours["line"]}},
        "axisTick": {"show": False},
        "axisLabel": {"color": colours["muted"], "hideOverlap": True},
        "splitLine": {"lineStyle": {"color": colours["line"]}},
    }
    return {
        "animation": False,
        "aria": {"enabled": True},
        "textStyle": {"fontFamily": "Roboto, system-ui, sans-serif"},
        "grid": {"left": 8, "right": 20, "top": 40, "bottom": 4, "containLabel": True},
        "legend": {
            "type": "scroll",
            "top": 0,
            "left": 0,
            "icon": "roundRect",
            "itemWidth": 10,
            "itemHeight": 10,
            "itemGap": 16,
            "textStyle": {"color": colours["muted"]},
        },
        "tooltip": {
            "trigger": "axis",
            "backgroundColor": colours["ground"],
            "borderColor": colours["line"],
            "textStyle": {"color": colours["text"]},
            "confine": True,
        },
        "xAxis": {"type": "time", **axis, "splitLine": {"show": False}},
        "yAxis": {"type": "value", "minInterval": 1, **axis, "axisLine": {"show": False}},
    }


#: Milliseconds of each step of the figures.
_STEPS = {"1m": 60_000, "1h": 3_600_000, "1d": 86_400_000}
#: How ECharts writes moments: days by name, never as a bare number.
_MOMENTS = {
    "year": "{yyyy}",
    "month": "{MMM} {d}",
    "day": "{MMM} {d}",
    "hour": "{HH}:{mm}",
    "minute": "{HH}:{mm}",
    "second": "{HH}:{mm}:{ss}",
    "millisecond": "{HH}:{mm}:{ss}",
    "none": "{HH}:{mm}",
}


def paths_over_time(stats: Row, *, dark: bool) -> Options:
    """Confirmed by path, one upon the other, and what ended without proof; *stats*: an answer by time.

    Empty steps are drawn as nothing rather than left out: a gap in traffic is to be seen.
    """
    options = _base(dark=dark)
    _stretch(options, stats)
    rows = {millis(row["at"]): row for row in stats["rows"]}
    moments = steps_of(stats)
    series = []
    for path in PATHS:
        data = [[at, (rows.get(at, {}).get("confirmed") or {}).get(path, 0)] for at in moments]
        if any(value for _, value in data) or path in {"longconn", "sms"}:
            series.append(_bars(path_name(path), data, path_colour(path, dark=dark)))
    lost = [
        [at, sum((rows.get(at, {}).get("ends") or {}).get(end, 0) for end in ("exhausted", "expired"))]
        for at in moments
    ]
    series.append(_bars("Not proven", lost, "#8b94a7"))
    return {**options, "series": series}


def steps_of(stats: Row) -> list[int]:
    """The beginning of every step of an answer by time."""
    return list(range(millis(stats["from"]), millis(stats["to"]), _STEPS[stats["step"]]))


def _stretch(options: Options, stats: Row) -> None:
    """The whole range on the time axis, also where nothing happened."""
    axis = options["xAxis"]
    axis["min"], axis["max"] = millis(stats["from"]), millis(stats["to"])
    axis["axisLabel"] = {**axis["axisLabel"], "formatter": _MOMENTS}


def _bars(name: str, data: list[list[int]], colour: str) -> Options:
    return {
        "name": name,
        "type": "bar",
        "stack": "all",
        "barMaxWidth": 22,
        "barMinWidth": 2,
        "itemStyle": {"color": colour},
        "emphasis": {"focus": "series"},
        "data": data,
    }


def proof_over_time(stats: Row, *, dark: bool) -> Options:
    """Time to proof, seconds on a logarithmic axis: half of the messages, and 95 of 100."""
    options = _base(dark=dark)
    _stretch(options, stats)
    options["yAxis"] = {**options["yAxis"], "type": "log", "min": 0.01, "minInterval": None}
    options["yAxis"]["axisLabel"] = {**options["yAxis"]["axisLabel"], "formatter": "{value} s"}
    colours = ink(dark=dark)
    series = []
    for name, key, kind, colour in (
        ("Half within", "p50_s", "solid", colours["accent"]),
        ("95 of 100 within", "p95_s", "dashed", path_colour("sms", dark=dark)),
    ):
        data = [
            [millis(row["at"]), max(found, 0.01)]
            for row in stats["rows"]
            if (found := (row.get("time_to_proof") or {}).get(key)) is not None
        ]
        series.append(
            {
                "name": name,
                "type": "line",
                "symbol": "circle",
                "symbolSize": 4,
                "showSymbol": len(data) < 40,
                "lineStyle": {"width": 2, "type": kind, "color": colour},
                "itemStyle": {"color": colour},
                "data": data,
            }
        )
    return {**options, "series": series}


def old_and_new(names: Sequence[str], old: Sequence[float], new: Sequence[float], *, dark: bool) -> Options:
    """Two bars a row: what is live and what a draft would make of the same traffic."""
    options = _base(dark=dark)
    colours = ink(dark=dark)
    value, category = options["yAxis"], options["xAxis"]
    options["tooltip"]["axisPointer"] = {"type": "shadow"}
    return {
        **options,
        "xAxis": {**value, "splitNumber": 4},
        "yAxis": {
            **category,
            "type": "category",
            "inverse": True,
            "data": list(names),
            "axisLabel": {"color": colours["text"], "width": 150, "overflow": "truncate"},
        },
        "series": [
            {"name": "Live", "type": "bar", "barMaxWidth": 12, "data": list(old), "itemStyle": {"color": "#7d89a1"}},
            {
                "name": "Draft",
                "type": "bar",
                "barMaxWidth": 12,
                "data": list(new),
                "itemStyle": {"color": colours["accent"]},
            },
        ],
    }
