"""How one provider fares, as a card: health first, answers as a bar and by reason, brakes, quota, credentials. Pure."""

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from dispatcher.console.markup import Markup, el, join
from dispatcher.console.palette import TONES
from dispatcher.console.pieces import badge, meter, path_badge, table
from dispatcher.console.words import ago, number, percent, seconds, time_tag

Provider = Mapping[str, Any]

REASONS = {
    "receipts_thin": "fewer receipts come back than usual",
    "receipts_slow": "receipts come back later than usual",
    "no_answers": "it does not answer",
}
#: How a path without credentials gets some.
_SET = {path: f"pushpath credentials set {path}" for path in ("apns", "fcm", "sms")}
_ORDER = ("handed_over", "retry_later", "not_connected", "unknown", "token_dead", "rejected")


def provider_words(provider: Provider, about: Mapping[str, Any], zone: ZoneInfo) -> Markup:
    """The card's content; *about*: what of its credentials is no secret."""
    path, name = provider["path"], provider["name"]
    other = el("span", name, class_="muted") if name != path else None
    facts = _facts(provider, about, zone)
    return join(
        el("h2", path_badge(path), other, class_="line"),
        el("div", _state(provider), class_="line"),
        _why(provider, zone),
        _bar(provider),
        el("dl", [join(el("dt", key), el("dd", value)) for key, value in facts], class_="facts"),
        _answers(provider),
    )


def _state(provider: Provider) -> list[Markup]:
    health = provider["health"]["state"]
    words = {"well": "well", "unwell": "unwell", "unknown": "nothing sent lately"}[health]
    shown = [
        badge(health, {"well": "good", "unwell": "bad"}.get(health, "quiet"), label=words),
        badge(provider["circuit"], label=f"circuit {provider['circuit'].replace('_', ' ')}"),
    ]
    if provider["paused"]:
        shown.append(badge("paused", "warn"))
    if provider["brake"]:
        shown.append(badge("braked", "warn", label=f"braked {seconds(provider['brake']['left_s'])}"))
    if not provider["configured"]:
        shown.append(badge("none", "quiet", label="no credentials"))
    return shown


def _why(provider: Provider, zone: ZoneInfo) -> Markup | None:
    parts: list[Any] = []
    if provider.get("reason"):
        parts.append(REASONS.get(provider["reason"], provider["reason"]))
    if provider.get("since"):
        parts.append(join("since ", time_tag(provider["since"], zone)))
    if provider.get("probe_at"):
        parts.append(join("tries again at ", time_tag(provider["probe_at"], zone)))
    return el("p", join(*(join(part, " ") for part in parts)), class_="small") if parts else None


def _bar(provider: Provider) -> Markup | None:
    """Answers as one bar, each outcome by its share."""
    answers: Mapping[str, int] = provider["answers"]
    total = sum(answers.values())
    if not total:
        return None
    named = [outcome for outcome in (*_ORDER, *sorted(set(answers) - set(_ORDER))) if answers.get(outcome)]
    parts = [
        el(
            "i",
            class_=f"share tone-{TONES.get(outcome, 'quiet')}",
            style=f"flex-grow:{answers[outcome]}",
            title=f"{outcome.replace('_', ' ')}: {number(answers[outcome])}",
        )
        for outcome in named
    ]
    words = ", ".join(f"{outcome.replace('_', ' ')} {number(answers[outcome])}" for outcome in named)
    return el("div", parts, class_="shares", role="img", aria_label=f"Answers: {words}")


def _facts(provider: Provider, about: Mapping[str, Any], zone: ZoneInfo) -> list[tuple[str, Any]]:
    answers, health = provider["answers"], provider["health"]
    total = sum(answers.values())
    facts: list[tuple[str, Any]] = [
        ("Answers", f"{number(total)} in {seconds(float(provider['window_s']))}"),
        ("Handed over", percent(answers.get("handed_over", 0), total)),
        ("To receipt", _receipt(provider)),
    ]
    if health["rate"] is not None:
        usual = f", usually {percent(health['usual_rate'], 1)}" if health["usual_rate"] is not None else ""
        ended = number(health["proven"] + health["unproven"])
        facts.append(("Proven", f"{percent(health['rate'], 1)} of {ended} whose wait is over{usual}"))
    if (brake := provider["brake"]) is not None:
        words = f" ({seconds(brake['left_s'])} left), as its Retry-After asked"
        facts.append(("Brake", join("sends nothing until ", time_tag(brake["until"], zone), words)))
    if provider["braked_devices"]:
        facts.append(("Devices braked", number(provider["braked_devices"])))
    if (quota := provider["quota"]) is not None:
        facts.append(("Quota", _quota(quota)))
    facts += [(f"Carrier {at}", _carrier(one, zone)) for at, one in enumerate(provider["carriers"], 1)]
    return facts + _credentials(provider, about, zone)


def _receipt(provider: Provider) -> str:
    if provider["receipt_s"] is None:
        return "no receipt in this time"
    usual = provider["health"]["usual_p95_s"]
    within = f"{seconds(provider['receipt_s'])}, 95 of 100 within {seconds(provider['receipt_p95_s'])}"
    return within + (f" (usually {seconds(usual)})" if usual is not None else "")


def _quota(quota: Mapping[str, Any]) -> Markup:
    share = quota["used"] / quota["limit"] if quota["limit"] else 1.0
    said = f"{number(quota['used'])} of {number(quota['limit'])} in {seconds(float(quota['window_s']))}"
    return join(said, meter(share, "Quota used"))


def _carrier(carrier: Mapping[str, Any], zone: ZoneInfo) -> Markup:
    if carrier["state"] == "well":
        return join(carrier["name"], " ", badge("well", "good"))
    until = join(" until ", time_tag(carrier["until"], zone))
    return join(carrier["name"], " ", badge("resting", "warn"), until, f": {carrier['reason'] or 'it failed'}")


def _credentials(provider: Provider, about: Mapping[str, Any], zone: ZoneInfo) -> list[tuple[str, Any]]:
    path, age = provider["path"], provider["credentials"]
    if path not in _SET:
        return []
    if age is None:
        return [("Credentials", join("none: ", el("code", _SET[path])))]
    check = age["check"]
    looked = (
        el("span", "not since the start: check them", class_="muted")
        if check is None
        else join(
            badge("checked", "good" if check["well"] else "bad", label="well" if check["well"] else "at fault"),
            f" {check['text']}, " if not check["well"] else " ",
            time_tag(check["at"], zone),
        )
    )
    said = ", ".join(f"{name} {value}" for name, value in about.items() if isinstance(value, str | int))
    facts: list[tuple[str, Any]] = [("Credentials", join("set ", ago(age["changed_at"]))), ("Checked", looked)]
    return [*facts, ("About", el("code", said))] if said else facts


def _answers(provider: Provider) -> Markup:
    """Every answer: by the vendor's word where there is one."""
    left = dict(provider["answers"])
    rows = []
    for each in provider["reasons"]:
        left[each["outcome"]] = left.get(each["outcome"], 0) - each["count"]
        rows.append((each["outcome"], each["reason"], each["count"]))
    rows += [(outcome, "", count) for outcome, count in left.items() if count > 0]
    shown = [
        (badge(outcome), el("code", reason) if reason else "", number(count))
        for outcome, reason, count in sorted(rows, key=lambda row: -row[2])[:8]
    ]
    return table(
        ("Outcome", "Reason", "Count"),
        shown,
        caption=f"Answers of {provider['path']}",
        numeric=(2,),
        empty="No attempts in this time.",
    )
