"""Who may see what: sign-in, sessions, roles, masks, times in the viewer's zone."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import httpx
import pytest
from playwright.async_api import expect

pytestmark = [pytest.mark.xdist_group("browser"), pytest.mark.timeout(240)]
PASSWORD = "a-long-enough-password"


def _person(installation: Any, login: str, role: str) -> None:
    """Made by the admin of `up`, as the command line does it."""
    with httpx.Client(base_url=installation.up["api_url"], trust_env=False, timeout=20) as api:
        token = api.post("/v1/sessions", json=installation.up["console_login"]).json()["token"]
        reply = api.put(
            f"/v1/operators/{login}",
            json={"role": role, "apps": None, "password": PASSWORD},
            headers={"Authorization": f"Bearer {token}"},
        )
        assert reply.status_code in {200, 201}, reply.text


async def test_a_wrong_password_is_told_and_a_right_one_leads_on(visit_as: Any, installation: Any) -> None:
    person = await visit_as(signed_in=False)
    page = person.page
    await page.goto(f"{person.console}/providers")
    await expect(page.get_by_label("Login")).to_be_visible()
    await page.get_by_label("Login").fill("admin")
    await page.get_by_label("Password").fill("not-this-one")
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("alert")).to_contain_text("Login or password is wrong.")
    await page.get_by_label("Password").fill(installation.up["console_login"]["password"])
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Providers")).to_be_visible()
    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_text("You have signed out.")).to_be_visible()
    await page.goto(f"{person.console}/")
    await expect(page.get_by_label("Login")).to_be_visible()


async def test_each_page_is_a_named_link(admin: Any) -> None:
    navigation = admin.page.get_by_role("navigation", name="Main")
    for name in ("Strategies", "Deliveries", "Users & devices", "Providers", "Phone lab", "Overview"):
        await navigation.get_by_role("link", name=name).click()
        await expect(admin.page.get_by_role("heading", level=1, name=name)).to_be_visible()
        await expect(navigation.get_by_role("link", name=name)).to_have_attribute("aria-current", "page")


async def test_a_viewer_looks_and_changes_nothing(visit_as: Any, installation: Any) -> None:
    _person(installation, "viewer", "viewer")
    with installation.api() as api:
        api.put("/v1/users/masked", json={"phone": "+8613800138777", "sms_opt_in": True})
    person = await visit_as(signed_in=False)
    await person.sign_in("viewer", PASSWORD)
    page = person.page
    await expect(page.get_by_role("heading", name="Overview")).to_be_visible()
    await person.go("/users/masked")
    await expect(page.get_by_text("+86*********77")).to_be_visible()
    for words in ("Show the number", "Erase user", "Send"):
        await expect(page.get_by_role("button", name=words)).to_have_count(0)
    await person.go("/providers")
    await expect(page.get_by_text("circuit closed").first).to_be_visible()
    await expect(page.get_by_role("button", name="Pause")).to_have_count(0)
    await person.go("/strategies/default")
    await expect(page.get_by_role("button", name="Store draft")).to_have_count(0)
    assert person.complaints == []


async def test_an_admin_sees_the_number_and_the_audit_says_so(admin: Any, installation: Any) -> None:
    with installation.api() as api:
        api.put("/v1/users/shown", json={"phone": "+8613800138778"})
    await admin.go("/users/shown")
    await admin.page.get_by_role("button", name="Show the number").click()
    await admin.page.get_by_label("Reason").fill("a customer called")
    await admin.page.get_by_role("button", name="Show", exact=True).click()
    await expect(admin.page.get_by_text("+8613800138778")).to_be_visible()
    with installation.api() as api:
        entries = api.get("/v1/audit").json()["entries"]
    looks = [entry for entry in entries if entry["action"] == "unmask.user" and entry["subject"] == "shown"]
    assert [(entry["who"], entry["detail"]["reason"]) for entry in looks] == [("admin", "a customer called")]


async def test_an_inbox_is_masked_until_an_admin_looks_and_the_audit_says_so(admin: Any, installation: Any) -> None:
    message = {
        "message_id": "waits",
        "to": {"user_ids": ["pulls"]},
        "notification": {"title": "Wang", "body": "There?"},
    }
    with installation.api() as api:
        assert api.post("/v1/messages", json=message).is_success
    await admin.go("/users/pulls")
    inbox = admin.page.get_by_role("region", name="Inbox")
    await expect(inbox).to_contain_text("•••: •••")
    await admin.page.get_by_role("button", name="Show what they say").click()
    await expect(inbox).to_contain_text("Wang: There?")
    with installation.api() as api:
        entries = api.get("/v1/audit").json()["entries"]
    looks = [entry["who"] for entry in entries if (entry["action"], entry["subject"]) == ("unmask.inbox", "pulls")]
    assert looks == ["admin"]


async def test_the_search_of_the_bar_leads_to_what_is_meant(admin: Any, installation: Any) -> None:
    page = admin.page
    message = {"message_id": "sought-1", "to": {"user_ids": ["seeker"]}, "notification": {"title": "Wang"}}
    with installation.api() as api:
        api.put("/v1/users/seeker", json={"phone": "+8613800138701"})
        assert api.post("/v1/messages", json=message).is_success
    for text, heading in (("sought-1", "sought-1"), ("seeker", "seeker"), ("+8613800138701", "seeker")):
        await page.keyboard.press("/")
        await page.keyboard.type(text)
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1, name=heading, exact=True)).to_be_visible()
        await admin.settled()
    await admin.go("/find?text=nobody-at-all")
    await expect(page.get_by_text("Nothing is called nobody-at-all")).to_be_visible()


async def test_a_session_that_ended_elsewhere_leads_to_sign_in(visit_as: Any, installation: Any) -> None:
    _person(installation, "leaver", "viewer")
    person = await visit_as(signed_in=False)
    await person.sign_in("leaver", PASSWORD)
    await expect(person.page.get_by_role("heading", name="Overview")).to_be_visible()
    _person(installation, "leaver", "viewer")  # a password set anew ends all sessions; the live page notices by itself
    await expect(person.page.get_by_text("Your session has ended.")).to_be_visible()


async def test_a_user_is_erased_only_once_the_name_is_typed(admin: Any, installation: Any) -> None:
    with installation.api() as api:
        api.put("/v1/users/to-erase", json={"locale": "zh-CN"})
    await admin.go("/users/to-erase")
    await admin.page.get_by_role("button", name="Erase user").click()
    erase = admin.page.get_by_role("button", name="Erase", exact=True)
    await expect(erase).to_be_disabled()
    await admin.page.get_by_label("Type to-erase to go on").fill("to-erase")
    await erase.click()
    await expect(admin.page.get_by_role("heading", name="Users & devices")).to_be_visible()
    with installation.api() as api:
        assert api.get("/v1/users/to-erase").status_code == 404


async def test_times_are_the_viewers(admin: Any, installation: Any) -> None:
    message = {"message_id": "zoned", "to": {"user_ids": ["zoned"]}, "notification": {"title": "Wang"}}
    with installation.api() as api:
        accepted = api.post("/v1/messages", json=message).json()["accepted_at"]
    await admin.go("/deliveries?user_id=zoned")
    here = datetime.fromisoformat(accepted).astimezone(ZoneInfo("Asia/Shanghai"))
    await expect(admin.page.locator("time").first).to_have_text(f"{here:%H:%M:%S}")


async def test_a_paused_path_is_shown_on_the_overview(admin: Any) -> None:
    page = admin.page
    await admin.go("/providers")
    await page.get_by_role("button", name="Pause fcm").click()
    await page.get_by_label("Why").fill("drill")
    await page.get_by_role("dialog").get_by_role("button", name="Pause").click()
    await expect(page.get_by_role("button", name="Resume fcm")).to_be_visible()
    await admin.go("/")
    await expect(page.get_by_role("alert")).to_contain_text("FCM: paused")
    await admin.go("/providers")
    await page.get_by_role("button", name="Resume fcm").click()
    await expect(page.get_by_role("button", name="Pause fcm")).to_be_visible()
    await page.get_by_role("button", name="Check credentials of apns").click()
    await expect(page.get_by_text("APNs: credentials can be used")).to_be_visible()


def test_other_sites_can_neither_post_nor_frame(installation: Any) -> None:
    with httpx.Client(base_url=installation.console, trust_env=False) as stranger:
        reply = stranger.post("/sign-in", content="login=a&password=b", headers={"Origin": "https://evil.example"})
        assert reply.status_code == 403
        form = stranger.get("/sign-in")
    assert form.headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in form.headers["content-security-policy"]


def test_the_session_cookie_is_out_of_reach_of_scripts_and_other_sites(installation: Any) -> None:
    with httpx.Client(base_url=installation.console, trust_env=False, timeout=20) as person:
        reply = person.post("/sign-in", content=urlencode(installation.up["console_login"]))
    assert (reply.status_code, reply.headers["location"]) == (303, "/")
    cookie = reply.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
