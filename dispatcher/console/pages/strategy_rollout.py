"""Rollout: publish to a share of the users, watch both versions side by side, widen it or go back."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pages.strategy_editor import store_draft
from dispatcher.console.patience import lively
from dispatcher.console.pieces import badge, card, confirm, done, empty_state, guarded, html, path_badge
from dispatcher.console.summary import spent
from dispatcher.console.words import number, percent, seconds, time_tag
from dispatcher.console.work import Work

_SHARES = (1, 5, 10, 25, 50, 100)
REFRESH_S = 5.0


async def rollout_tab(visit: Visit, work: Work) -> None:
    """What is live now stands beside what is on trial."""
    address = f"/v1/strategies/{quote(work.name, safe='')}"

    async def publish() -> None:
        share = int(percent_of.value)
        if work.changed or work.origin != "draft":
            await store_draft(visit, work)
        live = await visit.api.post(f"{address}/publish", {"percent": share})
        work.origin, work.stored = "published", work.text
        done(f"Version {live['version']} is live for {live['percent']} % of the users.")
        await refresh()

    async def go_back(version: int) -> None:
        sure = await confirm(
            f"Go back to version {version}?",
            "It becomes live for all users at once, as a new version with the same document. Deliveries under way keep"
            " the version they were planned with.",
            f"Roll back to {version}",
        )
        if sure:
            live = await visit.api.post(f"{address}/rollback", {"version": version})
            done(f"Version {live['version']} is live: the document of version {version}.")
            await refresh()

    if visit.operator.may("strategies"):
        with card(
            "Publish", "Users are chosen by their id, so each keeps the same version. Widen it when the figures hold."
        ):
            with ui.element("div").classes("line"):
                percent_of = ui.toggle({share: f"{share} %" for share in _SHARES}, value=10)
                percent_of.props('unelevated no-caps dense padding="6px 14px" aria-label="Share of users"')
                ui.button("Publish", icon="rocket_launch", on_click=guarded(publish)).props("unelevated")
            html(el("p", "The text in the editor is stored as the draft first, then published.", class_="muted small"))
    with card("Live now", "By the version that planned the delivery, of what was accepted in the last 24 hours."):
        beside = ui.element("div").classes("versions")

    async def refresh() -> None:
        versions, figures = await asyncio.gather(versions_of(visit, address), _figures(visit, work.name))
        shown = [
            version
            for version in versions
            if version["state"] in {"live", "partial", "trial", "published"} and version["percent"]
        ]
        key = repr([versions, figures])
        if key == seen.get("key"):
            return
        seen["key"] = key
        beside.clear()
        with beside:
            if not shown:
                html(empty_state("Nothing of this strategy is live", "Publish it to begin."))
            for version in shown:
                with ui.element("div").classes("version"):
                    share = share_of(version, shown)
                    html(_version(visit, version, share, figures.get(version["version"], {})))
            earlier = next(
                (each for each in versions if each["version"] < max((one["version"] for one in shown), default=0)), None
            )
            if earlier is not None and visit.operator.may("strategies"):
                target = next((each for each in shown if each["version"] != shown[0]["version"]), earlier)["version"]
                ui.button(
                    f"Roll back to version {target}",
                    icon="history",
                    color=None,
                    on_click=guarded(lambda: go_back(target)),
                ).props("outline").classes("danger start")

    seen: dict[str, str] = {}
    await lively(refresh, REFRESH_S)


async def versions_of(visit: Visit, address: str) -> list[Mapping[str, Any]]:
    """Newest first, without figures; none of a strategy that was never published."""
    try:
        found: list[Mapping[str, Any]] = (await visit.api.get(f"{address}/versions", figures="false"))["versions"]
    except ApiError as error:
        if error.status == 404:
            return []
        raise
    return found


async def _figures(visit: Visit, name: str) -> Mapping[int, Mapping[str, Any]]:
    """By version, of what was accepted in the last 24 hours: from roll-ups."""
    found = await visit.api.get("/v1/stats", by="strategy")
    return {row["version"]: row for row in found["rows"] if row["strategy"] == name}


def share_of(version: Mapping[str, Any], live: Sequence[Mapping[str, Any]]) -> int:
    """Per cent of the users that get this one: what is live for all has what those on trial leave it."""
    others = sum(each["percent"] for each in live if each["version"] != version["version"] and each["percent"] < 100)
    return int(version["percent"]) - (others if version["percent"] == 100 else 0)


def _version(visit: Visit, version: Mapping[str, Any], share: int, row: Mapping[str, Any]) -> Markup:
    proof, ends, proven = row.get("time_to_proof") or {}, row.get("ends") or {}, row.get("confirmed") or {}
    settled = row.get("settled") or 0
    paths = [
        el("span", path_badge(path), " ", percent(count, sum(proven.values())), class_="nowrap")
        for path, count in sorted(proven.items(), key=lambda item: -item[1])
        if count
    ]
    segments = spent(row)
    facts = (
        ("Settled", number(settled)),
        ("Confirmed", el("strong", percent(ends.get("confirmed", 0), settled))),
        ("Not proven", percent(sum(ends.get(end, 0) for end in ("exhausted", "expired")), settled)),
        ("Opened", percent((row.get("funnel") or {}).get("opened"), settled)),
        (
            "Time to proof",
            f"{seconds(proof['p50_s'])}, 95 of 100 within {seconds(proof['p95_s'])}"
            if proof.get("p50_s") is not None
            else "nothing proven yet",
        ),
        ("Proven by", el("span", paths or "–", class_="line")),
        ("SMS segments", f"{number(segments)}, {segments / settled:.3f} a delivery" if settled else "–"),
    )
    by = f" by {version['by'] or 'Pushpath'}"
    return join(
        el("h3", f"Version {version['version']} ", badge(version["state"], label=f"{share} % of users")),
        el("p", "published ", time_tag(version["published_at"], visit.zone), by, class_="muted small"),
        el("dl", [join(el("dt", name), el("dd", value)) for name, value in facts], class_="facts"),
    )
