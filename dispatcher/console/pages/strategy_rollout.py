"""Rollout: publish to a share of the users, watch both versions side by side, widen it or go back."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from nicegui import ui

from dispatcher.console.api import ApiError
from dispatcher.console.frame import Visit
from dispatcher.console.markup import Markup, el, join
from dispatcher.console.pages.strategy_editor import store_draft
from dispatcher.console.pieces import badge, card, confirm, done, empty_state, guarded, html, report
from dispatcher.console.words import number, path_name, percent, seconds, time_tag
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
    with card("Live now", "Figures by the version that planned the delivery."):
        beside = ui.element("div").classes("versions")

    async def refresh() -> None:
        try:
            versions = await _versions(visit, address)
        except ApiError as error:
            if error.signed_out:
                report(error)
            return
        shown = [
            version
            for version in versions
            if version["state"] in {"live", "partial", "trial", "published"} and version["percent"]
        ]
        key = repr(versions)
        if key == seen.get("key"):
            return
        seen["key"] = key
        beside.clear()
        with beside:
            if not shown:
                html(empty_state("Nothing of this strategy is live", "Publish it to begin."))
            for version in shown:
                with ui.element("div").classes("version"):
                    html(_version(visit, version))
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
    await refresh()
    ui.timer(REFRESH_S, refresh, immediate=False)


async def _versions(visit: Visit, address: str) -> list[Mapping[str, Any]]:
    try:
        found: list[Mapping[str, Any]] = (await visit.api.get(f"{address}/versions"))["versions"]
    except ApiError as error:
        if error.status == 404:
            return []
        raise
    return found


def _version(visit: Visit, version: Mapping[str, Any]) -> Markup:
    figures = version.get("figures") or {}
    proof = figures.get("time_to_proof_s") or {}
    states, proven = figures.get("states") or {}, figures.get("confirmed_by") or {}
    settled = figures.get("deliveries") or 0
    paths = ", ".join(
        f"{path_name(path)} {percent(count, sum(proven.values()))}" for path, count in proven.items() if count
    )
    facts = (
        ("Settled", number(settled)),
        ("Confirmed", percent(figures.get("confirmed", 0), settled)),
        ("Time to proof", f"{seconds(proof.get('p50'))}, 95 of 100 within {seconds(proof.get('p95'))}"),
        ("Proven by", paths or "–"),
        ("Not proven", number(sum(states.get(end, 0) for end in ("exhausted", "expired")))),
        ("SMS segments", number((figures.get("sms") or {}).get("segments", 0))),
    )
    by = f" by {version['by'] or 'Pushpath'}"
    return join(
        el("h3", f"Version {version['version']} ", badge(version["state"], label=f"{version['percent']} % of users")),
        el("p", "published ", time_tag(version["published_at"], visit.zone), by, class_="muted small"),
        el("dl", [join(el("dt", name), el("dd", value)) for name, value in facts], class_="facts"),
    )
