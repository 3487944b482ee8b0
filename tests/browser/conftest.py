"""One `pushpath up` and real Chromium for the console's tests; they share one worker by their xdist group."""

import contextlib
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from playwright.async_api import Browser, Page, async_playwright, expect

from tests.running import directory, running_up

expect.set_options(timeout=30_000)
LAPTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
#: As an ordinary program on a closed network: no sandbox (tests may run as root), no calls home.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@dataclass(frozen=True, kw_only=True)
class Installation:
    """A running Pushpath with its console. *up*: its up.json."""

    up: dict[str, Any]

    @property
    def console(self) -> str:
        """The console's address, without a path."""
        return str(self.up["console_url"])

    def api(self) -> httpx.Client:
        """The API with the key of `up`."""
        headers = {"Authorization": f"Bearer {self.up['api_key']}"}
        return httpx.Client(base_url=self.up["api_url"], headers=headers, trust_env=False, timeout=20)


@pytest.fixture(scope="session")
def installation(until_group_ends: Callable[[str], contextlib.ExitStack]) -> Iterator[Installation]:
    """Stopped, and its data gone, after the last of these tests."""
    with until_group_ends("browser") as ends:
        up = running_up(ends.enter_context(directory("pushpath-browser-")))
        yield Installation(up=ends.enter_context(up).document)


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    """The system's Chromium, headless."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.fail("The browser tests need Chromium. On Debian, as root: apt-get install chromium")
    async with async_playwright() as playwright:
        found = await playwright.chromium.launch(executable_path=program, args=list(FLAGS))
        yield found
        await found.close()


@dataclass(kw_only=True)
class Visitor:
    """One person with a browser: what they see, and what the browser complained about."""

    page: Page
    console: str
    complaints: list[str] = field(default_factory=list)

    async def sign_in(self, login: str, password: str) -> None:
        """With the keyboard: Enter submits."""
        await self.page.goto(f"{self.console}/sign-in")
        await self.page.get_by_label("Login").fill(login)
        await self.page.get_by_label("Password").fill(password)
        await self.page.keyboard.press("Enter")

    async def go(self, path: str) -> None:
        """To a page of the console, ready to be used."""
        await self.page.goto(self.console + path)
        await self.page.get_by_role("heading", level=1).wait_for()

    async def settled(self) -> None:
        """Until the page is alive and its parts are drawn."""
        await self.page.wait_for_function("window.socket?.connected && document.fonts.status === 'loaded'")


async def visitor(
    browser: Browser,
    installation: Installation,
    *,
    theme: str = "light",
    size: dict[str, int] | None = None,
    signed_in: bool = True,
) -> Visitor:
    """A fresh browser profile in Shanghai; signed in as the admin of `up` unless told otherwise."""
    context = await browser.new_context(
        viewport=size or LAPTOP,  # type: ignore[arg-type]
        color_scheme=theme,  # type: ignore[arg-type]
        timezone_id="Asia/Shanghai",
        locale="en-GB",
    )
    page = await context.new_page()
    page.set_default_timeout(30_000)
    person = Visitor(page=page, console=installation.console)
    page.on("console", lambda text: person.complaints.append(text.text) if text.type == "error" else None)
    page.on("pageerror", lambda error: person.complaints.append(str(error)))
    if signed_in:
        await person.sign_in(**installation.up["console_login"])
        await page.get_by_role("heading", name="Overview").wait_for()
    return person


@pytest.fixture
async def admin(browser: Browser, installation: Installation) -> AsyncIterator[Visitor]:
    """Signed in; at the end the browser must have had nothing to complain about."""
    person = await visitor(browser, installation)
    yield person
    assert person.complaints == []


@pytest.fixture
def visit_as(browser: Browser, installation: Installation) -> Any:
    """Makes visitors of other kinds."""

    async def make(**wishes: Any) -> Visitor:
        return await visitor(browser, installation, **wishes)

    return make
