"""One delivery's story: events in words, and the same drawn to scale as a picture. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.console.api import read_time
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pieces import badge, path_badge
from dispatcher.console.words import clock, path_name, seconds

Event = Mapping[str, Any]

REASONS = {
    "no_device": "the user has no device",
    "no_token": "no live token is known",
    "no_vendor_path": "the platform has no vendor path here",
    "offline": "the device was not connected, and its grace was over",
    "circuit_open": "the provider's circuit was open",
    "paused": "an operator had paused it",
    "no_phone": "no phone number is known",
    "unverified_number": "the phone number is not verified",
    "opted_out": "the user said no to SMS",
    "muted": "the user muted this class",
    "budget_exhausted": "the SMS budget was used up",
    "condition": "the step's condition did not hold",
    "condition_unknown": "a fact that the step's condition needs was missing",
    "coalesced": "an SMS of the same conversation already stands for it",
    "timeout": "no proof arrived in time",
    "failed": "the step failed for good",
    "receipts_unhealthy": "receipts could not be trusted just then",
}

#: What carriers report on the way: no proof.
_NO_PROOF = frozenset({"queued", "accepted", "sending", "sent"})
#: After these answers nothing is waited for.
_FAILED = frozenset({"rejected", "token_dead", "not_connected"})
_WIDTH, _LEFT, _RIGHT, _LANE, _TOP = 1000, 150, 24, 62, 34


def reason_words(reason: str | None) -> str:
    """A reason code in words."""
    return REASONS.get(reason or "", (reason or "").replace("_", " "))


def event_words(event: Event) -> Markup:
    """One event as a sentence."""
    detail, path = event["detail"], event["path"]
    step = f"step {detail['step']}" if detail.get("step") else ""
    match event["kind"]:
        case "accepted":
            return join(f"Accepted as {detail.get('class')}, priority {detail.get('priority')}.")
        case "planned":
            return join(
                "Planned: rule ",
                el("strong", detail.get("rule")),
                f" of {detail.get('strategy')}@{detail.get('version')}.",
            )
        case "attempted":
            return join(path_badge(path), f" attempted ({step}).")
        case "outcome":
            why = f": {detail['reason']}" if detail.get("reason") else ""
            return join(path_badge(path), " answered ", badge(str(detail.get("outcome", "unknown"))), why, ".")
        case "receipt":
            source = f" from {detail['source']}" if detail.get("source") else ""
            note = " It settles the delivery." if detail.get("confirmed") else ""
            return join(_evidence(detail), " on ", path_badge(path), f"{source}.{note}")
        case "escalated":
            onward = join(" On to ", path_badge(path), ".") if path else ""
            return join(f"Escalated after {step}: {reason_words(detail.get('reason'))}.", onward)
        case "skipped":
            return join(path_badge(path), f" skipped ({step}): {reason_words(detail.get('reason'))}.")
        case "settled":
            by = join(" by ", path_badge(detail.get("confirmed_by"))) if detail.get("confirmed_by") else ""
            return join("Settled: ", badge(str(detail.get("state"))), by, ".")
        case "recalled":
            return join("Recalled: what was pending has died.")
    return join(str(event["kind"]).replace("_", " "))


def _evidence(detail: Mapping[str, Any]) -> Markup:
    """What a receipt says; a carrier's status that proves nothing yet (sent, queued) is shown as such."""
    if detail.get("event") is None or str(detail.get("source", "")).rpartition(":")[2] in _NO_PROOF:
        return badge("status", "quiet")
    return badge(str(detail["event"]))


def explanation(events: Iterable[Event]) -> Markup:
    """Why it went this way, one paragraph for each device."""
    said = []
    for event in events:
        if event["kind"] != "planned":
            continue
        detail = event["detail"]
        who = (
            f"On {event['device_id']} ({detail.get('platform')})"
            if event["device_id"]
            else "For this user without a device"
        )
        because = f" because {detail['because']}" if detail.get("because") else ""
        skipped = [
            f"{path_name(each['path'])} was skipped: {reason_words(each['reason'])}."
            for each in detail.get("skipped", ())
        ]
        said.append(
            el(
                "p",
                f"{who}, rule ",
                el("strong", detail.get("rule")),
                f" of {detail.get('strategy')}@{detail.get('version')} matched{because}. ",
                " ".join(skipped),
            )
        )
    return el("div", said or el("p", "It has not been planned yet.", class_="muted"), class_="words")


def event_list(events: Sequence[Event], zone: ZoneInfo) -> Markup:
    """All events below each other, each with its distance from the start."""
    if not events:
        return join()
    start = read_time(events[0]["at"])
    return el(
        "ol",
        [
            el(
                "li",
                el("time", clock(event["at"], zone, parts="milli"), datetime=event["at"], class_="when"),
                el("span", "+" + seconds((read_time(event["at"]) - start).total_seconds()), class_="after"),
                el(
                    "span",
                    event_words(event),
                    el("small", f" {event['device_id']}", class_="muted") if event["device_id"] else None,
                ),
            )
            for event in events
        ],
        class_="events",
        tabindex="0",
        aria_label="Events",
    )


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """A step of one track while it was tried: from its attempt until proof, the next step or the end."""

    lane: str
    path: str
    step: int
    start: datetime
    end: datetime


def stretches(events: Sequence[Event], now: datetime) -> list[Stretch]:
    """What was tried when, by device. A user's SMS stands in the lane of the device that led to it."""
    found = []
    over = next((read_time(event["at"]) for event in events if event["kind"] in {"settled", "recalled"}), None)
    for at, event in enumerate(events):
        if event["kind"] != "attempted":
            continue
        lane, step, start = event["device_id"] or "", event["detail"].get("step", 0), read_time(event["at"])
        ends = [over if over is not None else now]
        for later in events[at + 1 :]:
            same = (later["device_id"] or "") == lane
            if same and (
                (later["kind"] == "escalated" and later["detail"].get("step", step) >= step)
                or (later["kind"] == "attempted" and later["path"] == event["path"])
                or (later["kind"] == "receipt" and later["detail"].get("confirmed"))
                or (later["path"] == event["path"] and later["detail"].get("outcome") in _FAILED)
            ):
                ends.append(read_time(later["at"]))
                break
        found.append(Stretch(lane=lane, path=event["path"], step=step, start=start, end=max(start, min(ends))))
    return found


def picture(events: Sequence[Event], zone: ZoneInfo, now: datetime) -> Markup:
    """The story as SVG: one lane a device, time to scale from left to right."""
    if not events:
        return join()
    start = read_time(events[0]["at"])
    settled = any(event["kind"] in {"settled", "recalled"} for event in events)
    end = max(read_time(event["at"]) for event in events) if settled else max(now, read_time(events[-1]["at"]))
    span = max((end - start).total_seconds(), 0.05) * 1.03
    lanes = list(dict.fromkeys(event["device_id"] for event in events if event["device_id"])) or [""]
    height = _TOP + (len(lanes) + 1) * _LANE + 12

    def x(at: datetime) -> float:
        return round(_LEFT + (at - start).total_seconds() / span * (_WIDTH - _LEFT - _RIGHT), 1)

    drawn: list[Any] = [_axis(span, height)]
    for row, lane in enumerate(["", *lanes] if lanes != [""] else [""]):
        y = _TOP + row * _LANE
        drawn.append(_lane(lane or ("Message" if row == 0 else "User"), y))
    tops = {lane: _TOP + (row + 1) * _LANE for row, lane in enumerate(lanes)}
    for stretch in stretches(events, end):
        y = tops.get(stretch.lane, _TOP)
        drawn.append(_bar(stretch, x(stretch.start), x(stretch.end), y))
    for event in events:
        lane = event["device_id"]
        y = tops.get(lane, _TOP)
        drawn.append(_dot(event, x(read_time(event["at"])), y, zone))
    label = (
        f"Timeline of the delivery over {seconds((end - start).total_seconds())}; the list below says the same in words"
    )
    svg = el("svg", drawn, viewBox=f"0 0 {_WIDTH} {height}", role="img", aria_label=label)
    return el("div", svg, class_="story", tabindex="0", role="region", aria_label="Timeline, drawn to scale")


def _text(
    words: str, x: float, y: float, *, size: int = 12, colour: str = "var(--muted)", anchor: str = "start"
) -> Markup:
    return el("text", words, x=x, y=y, font_size=size, fill=colour, text_anchor=anchor)


def ticks(span_s: float) -> list[float]:
    """Round moments (seconds from the start), at most eight."""
    steps = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21_600, 86_400)
    step = next((each for each in steps if span_s / each <= 8), 86_400 * 7)
    return [step * count for count in range(int(span_s / step) + 1)]


def _axis(span: float, height: int) -> Markup:
    width = _WIDTH - _LEFT - _RIGHT
    parts = []
    for tick in ticks(span):
        x = round(_LEFT + tick / span * width, 1)
        parts.append(el("line", x1=x, y1=_TOP - 10, x2=x, y2=height - 8, stroke="var(--line)"))
        parts.append(_text("start" if tick == 0 else f"+{seconds(tick)}", x, _TOP - 16, anchor="middle"))
    return join(parts)


def _lane(name: str, y: int) -> Markup:
    shown = name if len(name) <= 19 else f"{name[:9]}…{name[-8:]}"
    return join(
        _text(shown, 0, y + 28, size=13, colour="var(--text)"),
        el("line", x1=_LEFT, y1=y + 24, x2=_WIDTH - _RIGHT, y2=y + 24, stroke="var(--line)", stroke_dasharray="2 4"),
    )


def _bar(stretch: Stretch, left: float, right: float, y: int) -> Markup:
    width = max(right - left, 3)
    length = seconds((stretch.end - stretch.start).total_seconds())
    words = f"{path_name(stretch.path)}, step {stretch.step}: waited {length} for proof"
    colour = f"var(--{stretch.path})"
    shape = el(
        "rect",
        el("title", words),
        x=left,
        y=y + 12,
        width=round(width, 1),
        height=24,
        rx=5,
        fill=colour,
        fill_opacity="0.22",
        stroke=colour,
    )
    short = {"longconn": "Long conn."}.get(stretch.path, path_name(stretch.path))
    label = (
        _text(f"{short} {length}", left + 22, y + 28, colour="var(--text)")
        if width > 48 + 7 * len(short + length)
        else None
    )
    return join(shape, label)


def _dot(event: Event, x: float, y: int, zone: ZoneInfo) -> Markup:
    kind, path = event["kind"], event["path"]
    words = f"{clock(event['at'], zone, parts='milli')} {kind}{' ' + path_name(path) if path else ''}"
    colour = f"var(--{path})" if path else "var(--muted)"
    title = el("title", words)
    middle = y + 24
    if kind == "receipt" and str(event["detail"].get("source", "")).rpartition(":")[2] in _NO_PROOF:
        return el("path", title, d=f"M{x} {middle - 8}l5 8l-5 8l-5 -8z", fill="none", stroke=colour, stroke_width=2)
    if kind == "receipt":
        return join(
            el(
                "path",
                title,
                d=f"M{x} {middle - 14}l7 14l-7 14l-7 -14z",
                fill="var(--good)",
                stroke="var(--panel)",
                stroke_width=2,
            )
        )
    if kind in {"settled", "recalled"}:
        return join(
            el("rect", title, x=x - 6, y=middle - 6, width=12, height=12, rx=2, fill="var(--text)"),
            _text(str(event["detail"].get("state", kind)), x - 12, middle - 12, colour="var(--text)", anchor="end"),
        )
    if kind == "skipped":
        return el("path", title, d=f"M{x - 4} {middle + 14}l8 8m0 -8l-8 8", stroke=colour, stroke_width=2)
    if kind == "escalated":
        return el("path", title, d=f"M{x} {middle - 14}v28", stroke="var(--warn)", stroke_width=2.5)
    if kind == "outcome":
        good = event["detail"].get("outcome") == "handed_over"
        return el(
            "circle",
            title,
            cx=x,
            cy=middle,
            r=4,
            fill=colour if good else "var(--bad)",
            stroke="var(--panel)",
            stroke_width=1.5,
        )
    return el("circle", title, cx=x, cy=middle, r=5, fill="var(--panel)", stroke=colour, stroke_width=2.5)


def legend() -> Markup:
    """What the signs mean."""
    signs = ("○ attempted", "● answered", "◆ receipt", "❘ escalated", "✕ skipped", "■ settled")
    return el("div", [el("span", sign) for sign in signs], class_="legend")
