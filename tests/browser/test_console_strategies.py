"""An operator changes a rule without fear: error, fix, trial, ten per cent, both versions, back."""

from typing import Any

import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(240)]


def _traffic(installation: Any) -> None:
    with installation.api() as api:
        for number in range(5):
            message = {
                "message_id": f"strategy-{number}",
                "to": {"user_ids": ["strategy-li"]},
                "class": "call",
                "notification": {"title": "Wang", "body": "Are you there?"},
                "ttl": "1m",
            }
            assert api.post("/v1/messages", json=message).status_code == 202


async def test_a_rule_is_edited_tried_published_to_a_tenth_and_rolled_back(admin: Any, installation: Any) -> None:
    _traffic(installation)
    page = admin.page
    await admin.go("/strategies")
    await page.get_by_role("link", name="default").first.click()
    line = page.locator(".cm-line", has_text='when: message.class == "call"')
    await line.click()
    await page.keyboard.press("End")

    wrong = " && device.typo == 7"
    await page.keyboard.insert_text(wrong)
    fault = page.locator(".cm-line.fault-line")
    await expect(fault).to_contain_text("device.typo")
    await expect(fault.locator(".fault-note")).to_be_visible()
    await expect(page.get_by_role("alert").filter(has_text="Line")).to_contain_text("device.typo")

    for _ in wrong:
        await page.keyboard.press("Backspace")
    await page.keyboard.insert_text(' && message.priority != "low"')
    await expect(page.get_by_text("not stored yet")).to_be_visible()
    await expect(fault).to_have_count(0)
    await expect(page.locator(".rule").first).to_contain_text('message.priority != "low"')
    await page.get_by_role("button", name="Store draft").click()
    await expect(page.get_by_text("The draft is stored")).to_be_visible()

    await page.get_by_role("button", name="Go on: try it").click()
    await page.get_by_role("button", name="Compare").click()
    await expect(page.get_by_text(" decisions in ")).to_be_visible(timeout=60_000)
    await expect(page.locator(".tiles").filter(has_text="SMS held by limits")).to_be_visible()
    await page.get_by_role("button", name="Decide").click()
    await expect(page.get_by_text("matches.")).to_be_visible()

    await page.get_by_role("tab", name="Rollout").click()
    await page.get_by_role("button", name="10 %", exact=True).click()
    await page.get_by_role("button", name="Publish").click()
    await expect(page.get_by_text("Version 2 is live for 10 % of the users.")).to_be_visible()
    sides = page.locator(".version")
    await expect(sides).to_have_count(2)
    await expect(sides.filter(has_text="Version 1")).to_contain_text("of users")
    await expect(sides.filter(has_text="Version 2")).to_contain_text("10 % of users")

    await page.get_by_role("button", name="Roll back to version 1").click()
    await page.get_by_role("button", name="Roll back to 1", exact=True).click()
    await expect(page.get_by_text("the document of version 1")).to_be_visible()
    await expect(sides).to_have_count(1)
    await expect(sides).to_contain_text("100 % of users")

    await page.reload()
    await page.get_by_role("tab", name="Versions & audit").click()
    await expect(page.get_by_role("cell", name="strategy.rollback").first).to_be_visible()
    with installation.api() as api:
        live = api.get("/v1/strategies/default", headers={"Accept": "application/yaml"}).text
    assert 'priority != "low"' not in live


async def test_a_fact_goes_into_the_text_by_a_click(admin: Any) -> None:
    page = admin.page
    await admin.go("/strategies/default")
    line = page.locator(".cm-line", has_text='when: message.class == "call"')
    await line.click()
    await page.keyboard.press("End")
    await page.keyboard.insert_text(" && !")
    await page.get_by_label("Find a fact").fill("in_quiet")
    await page.get_by_role("button", name="user.in_quiet_hours").click()
    await expect(line).to_contain_text('message.class == "call" && !user.in_quiet_hours')
    await expect(page.get_by_text("valid", exact=True)).to_be_visible()
