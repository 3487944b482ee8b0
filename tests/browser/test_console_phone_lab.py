"""From the phone lab to the SMS: a silent phone, a ladder that climbs, a text in the simulator's outbox."""

from typing import Any

import pytest
from playwright.async_api import Page, expect

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(240)]


async def _add(page: Page, user_id: str, platform: str, number: str) -> Any:
    form = page.get_by_role("form", name="Add a phone")
    await form.get_by_label("User").fill(user_id)
    await form.get_by_label("Platform").select_option(platform)
    await form.get_by_label("Number for SMS").fill(number)
    await form.get_by_role("button", name="Add phone").click()
    phone = page.locator("article.phone").last
    await expect(phone.get_by_text("online", exact=True)).to_be_visible()
    return phone


async def _send(page: Page, klass: str, text: str) -> None:
    await page.get_by_label("Class").click()
    await page.get_by_role("option", name=klass, exact=True).click()
    await page.get_by_label("Text").fill(text)
    await page.get_by_role("button", name="Send", exact=True).click()


async def test_a_message_reaches_a_connected_phone_and_is_proven_by_its_line(admin: Any) -> None:
    page = admin.page
    await admin.go("/phone-lab")
    phone = await _add(page, "lab-online", "ios", "+8613800138201")
    await _send(page, "chat", "Over the line")
    await expect(phone.locator(".bubble.path-longconn")).to_contain_text("Over the line")
    await expect(page.get_by_text("confirmed").first).to_be_visible()


async def test_a_silent_phone_makes_the_ladder_climb_to_the_sms(admin: Any, installation: Any) -> None:
    page = admin.page
    await admin.go("/phone-lab")
    phone = await _add(page, "lab-silent", "ios", "+8613800138202")
    await phone.get_by_label("Acknowledges").uncheck()
    await _send(page, "otp", "Your code is 4711")
    await expect(phone.locator(".bubble.path-longconn")).to_contain_text("4711")
    await expect(phone.locator(".bubble.path-apns")).to_contain_text("4711", timeout=30_000)
    await expect(phone.locator(".bubble.path-sms")).to_contain_text("4711", timeout=60_000)
    await expect(page.get_by_text("confirmed").first).to_be_visible(timeout=30_000)

    await page.get_by_role("link", name="Whole story").click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text("test-")
    story = page.locator(".events")
    for words in ("Long connection", "APNs", "SMS", "no proof arrived in time", "Settled"):
        await expect(story).to_contain_text(words)
    await expect(page.locator(".words")).to_contain_text("one-time password")
    with installation.api() as api:
        deliveries = api.get("/v1/deliveries", params={"user_id": "lab-silent"}).json()["deliveries"]
    assert [row["confirmed_by"] for row in deliveries] == ["sms"]


async def test_a_push_wakes_a_closed_app_which_proves_it(admin: Any) -> None:
    page = admin.page
    await admin.go("/phone-lab")
    phone = await _add(page, "lab-closed", "android", "+8613800138203")
    await phone.get_by_label("App on").select_option("closed")
    await expect(phone.get_by_text("app closed", exact=True)).to_be_visible()
    await _send(page, "call", "Ringing")
    await expect(phone.locator(".bubble.path-fcm")).to_contain_text("Ringing", timeout=30_000)
    await expect(page.locator(".events")).to_contain_text("Settled", timeout=30_000)
    await expect(page.locator(".events")).to_contain_text("FCM")
