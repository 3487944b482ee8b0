"""Takes the documentation's pictures of the console: python ops/docs/console/take.py DATA_DIRECTORY_OF_UP [NAME...]

Start `pushpath up` and give it some traffic first; strategies, users and phones that the pictures need are made here.
"""

import asyncio
import json
import shutil
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
from playwright.async_api import Browser, Page, async_playwright

HERE = Path(__file__).parent
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
LAPTOP, PHONE = {"width": 1280, "height": 800}, {"width": 390, "height": 844}
Scene = Callable[[Page, str, dict[str, Any]], Awaitable[None]]


async def _open(page: Page, address: str) -> None:
    await page.goto(address)
    await page.get_by_role("heading", level=1).wait_for()
    await page.wait_for_timeout(2_000)  # charts draw


async def editor(page: Page, base: str, up: dict[str, Any]) -> None:
    """With a fault as it looks while one types."""
    await _open(page, f"{base}/strategies/default")
    await page.locator(".cm-line", has_text='when: message.class == "call"').click()
    await page.keyboard.press("End")
    await page.keyboard.insert_text(" && device.platfrom")
    await page.locator(".fault-note").first.wait_for()


async def trial(page: Page, base: str, up: dict[str, Any]) -> None:
    """A draft whose calls go by push at once, against what is live."""
    await _open(page, f"{base}/strategies/default")
    line = page.locator(".cm-line", has_text='when: message.class == "call"')
    await line.click()
    await page.keyboard.press("End")
    await page.keyboard.insert_text(' && device.platform == "ios"')
    await page.get_by_role("button", name="Go on: try it").click()
    await page.get_by_role("button", name="Decide").click()
    await page.get_by_role("button", name="Compare").click()
    await page.get_by_text(" decisions in ").wait_for(timeout=60_000)
    await page.wait_for_timeout(1_500)


async def rollout(page: Page, base: str, up: dict[str, Any]) -> None:
    """Two versions side by side."""
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    async with httpx.AsyncClient(base_url=up["api_url"], headers=headers, trust_env=False) as api:
        live = await api.get("/v1/strategies/default", headers={"Accept": "application/yaml"})
        versions = (await api.get("/v1/strategies/default/versions")).json()["versions"]
        if not any(version["percent"] == 10 for version in versions):
            if_match = {"If-Match": live.headers["etag"], "Content-Type": "application/yaml"}
            text = live.text.replace("wait: 10s, priority: high", "wait: 8s, priority: high")
            (await api.put("/v1/strategies/default/draft", content=text, headers=if_match)).raise_for_status()
            (await api.post("/v1/strategies/default/publish", json={"percent": 10})).raise_for_status()
    await _open(page, f"{base}/strategies/default?tab=rollout")


async def delivery(page: Page, base: str, up: dict[str, Any]) -> None:
    """One that climbed to the SMS."""
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    async with httpx.AsyncClient(base_url=up["api_url"], headers=headers, trust_env=False) as api:
        rows = (await api.get("/v1/deliveries", params={"limit": 200, "class": "otp"})).json()["deliveries"]
    row = next(each for each in rows if each["confirmed_by"] == "sms" and each["devices"])
    await _open(page, f"{base}/deliveries/{row['message_id']}?user_id={row['user_id']}")


async def user(page: Page, base: str, up: dict[str, Any]) -> None:
    """Somebody with a phone and messages."""
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    async with httpx.AsyncClient(base_url=up["api_url"], headers=headers, trust_env=False) as api:
        rows = (await api.get("/v1/deliveries", params={"limit": 50})).json()["deliveries"]
    await _open(page, f"{base}/users/{next(each['user_id'] for each in rows if each['devices'])}")


async def providers(page: Page, base: str, up: dict[str, Any]) -> None:
    """With credentials looked at."""
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    async with httpx.AsyncClient(base_url=up["api_url"], headers=headers, trust_env=False) as api:
        for path in ("apns", "fcm", "sms"):
            (await api.post(f"/v1/credentials/{path}/check")).raise_for_status()
    await _open(page, f"{base}/providers")


async def phone_lab(page: Page, base: str, up: dict[str, Any]) -> None:
    """A silent iPhone and an Android phone: the ladder climbs to the SMS."""
    headers = {"Authorization": f"Bearer {up['api_key']}"}
    async with httpx.AsyncClient(base_url=up["api_url"], headers=headers, trust_env=False) as api:
        await api.delete("/v1/users/lab-li")  # phones of earlier pictures
    await _open(page, f"{base}/phone-lab")
    for place, platform in enumerate(("android", "ios")):
        await page.get_by_label("Platform").select_option(platform)
        await page.get_by_role("button", name="Add phone").click()
        phone = page.locator("article.phone").nth(place)
        await phone.get_by_text("online", exact=True).wait_for()
        await phone.get_by_label("Acknowledges").uncheck()
    await page.get_by_label("Class").click()
    await page.get_by_role("option", name="otp", exact=True).click()
    await page.get_by_label("Text").fill("Your code is 4711")
    await page.get_by_role("button", name="Send", exact=True).click()
    await page.locator(".bubble.path-sms").first.wait_for(timeout=60_000)
    await page.wait_for_timeout(3_500)


def plain(path: str) -> Scene:
    """A page as it is."""

    async def show(page: Page, base: str, up: dict[str, Any]) -> None:
        await _open(page, base + path)

    return show


SCENES: dict[str, Scene] = {
    "overview": plain("/?range=15m"),
    "strategies": plain("/strategies"),
    "editor": editor,
    "trial": trial,
    "rollout": rollout,
    "deliveries": plain("/deliveries"),
    "delivery": delivery,
    "users": plain("/users"),
    "user": user,
    "providers": providers,
    "phone-lab": phone_lab,
}
ON_A_PHONE = ("overview", "delivery")


async def _take(browser: Browser, up: dict[str, Any], name: str, theme: str, size: dict[str, int], suffix: str) -> None:
    context = await browser.new_context(
        viewport=size,
        color_scheme=theme,
        timezone_id="Asia/Shanghai",
        locale="en-GB",  # type: ignore[arg-type]
    )
    page, base = await context.new_page(), up["console_url"]
    page.set_default_timeout(60_000)
    await page.goto(f"{base}/sign-in")
    if name != "sign-in":
        await page.get_by_label("Login").fill(up["console_login"]["login"])
        await page.get_by_label("Password").fill(up["console_login"]["password"])
        await page.keyboard.press("Enter")
        await page.get_by_role("heading", name="Overview").wait_for()
        await SCENES[name](page, base, up)
    await page.evaluate("window.scrollTo(0, 0)")
    await page.wait_for_timeout(500)
    target = HERE / f"{name}{suffix}-{theme}.png"
    await page.screenshot(path=target, full_page=True)
    print(target.name)
    await context.close()


async def main(data: Path, names: list[str]) -> None:
    """All of them, or those named."""
    up = json.loads((data / "up.json").read_text())
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=FLAGS)
        for name in names or ["sign-in", *SCENES]:
            for theme in ("light", "dark"):
                await _take(browser, up, name, theme, LAPTOP, "")
                if name in ON_A_PHONE:
                    await _take(browser, up, name, theme, PHONE, "-phone")
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:]))
