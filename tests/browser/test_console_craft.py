"""Every page in both themes, on a laptop and a phone: accessible, quiet, inside its width."""

import re
from typing import Any

import pytest
from axe_playwright_python.async_playwright import Axe  # type: ignore[import-untyped]
from playwright.async_api import expect

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(300)]
PAGES = ("/", "/strategies", "/strategies/default", "/deliveries", "/users", "/providers", "/phone-lab")
SERIOUS = {"serious", "critical"}


async def _findings(page: Any) -> list[str]:
    answer = await Axe().run(page)
    return [
        f"{each['id']}: {node['html'][:160]}"
        for each in answer.response["violations"]
        if each["impact"] in SERIOUS
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_page_has_serious_findings_or_complaints(visit_as: Any, installation: Any, theme: str) -> None:
    person = await visit_as(theme=theme)
    message = {"message_id": f"craft-{theme}", "to": {"user_ids": ["craft"]}, "notification": {"title": "Wang"}}
    with installation.api() as api:
        api.put("/v1/users/craft", json={"phone": "+8613800138779", "sms_opt_in": True})
        api.post("/v1/messages", json=message)
    found = {}
    others = (
        f"/deliveries/craft-{theme}?user_id=craft",
        "/users/craft",
        "/strategies/default?tab=rollout",
        "/find?text=c",
    )
    for path in (*PAGES, *others):
        await person.go(path)
        await person.settled()
        if findings := await _findings(person.page):
            found[path] = findings
    assert found == {}, "\n".join(f"{path} {each}" for path, each in found.items())
    assert person.complaints == []


async def test_the_sign_in_form_has_no_serious_findings(visit_as: Any) -> None:
    person = await visit_as(signed_in=False)
    await person.page.goto(f"{person.console}/sign-in")
    await person.page.get_by_label("Login").wait_for()
    assert await _findings(person.page) == []


async def test_no_page_is_wider_than_a_phone(visit_as: Any) -> None:
    person = await visit_as(size={"width": 390, "height": 844})
    wide = {}
    for path in PAGES:
        await person.go(path)
        await person.settled()
        width = await person.page.evaluate("document.documentElement.scrollWidth")
        if width > 390:
            wide[path] = width
    assert wide == {}


async def test_every_range_of_the_overview_is_answered(admin: Any) -> None:
    ranges = admin.page.get_by_label("Time range")
    for name in ("15m", "3h", "24h", "7d", "30d", "1h"):
        await ranges.get_by_role("button", name=name, exact=True).click()
        await expect(admin.page).to_have_url(re.compile(f"range={name}$"))
        await expect(admin.page.get_by_text("Live, as of")).to_be_visible()
        await expect(admin.page.get_by_text("That did not work")).to_have_count(0)


async def test_an_address_without_anything_says_so(admin: Any) -> None:
    await admin.page.goto(f"{admin.console}/deliveries/never-sent")
    await expect(admin.page.get_by_role("heading", level=1)).to_have_text("Delivery not found")
    await expect(admin.page.get_by_role("link", name="Deliveries").last).to_be_visible()
