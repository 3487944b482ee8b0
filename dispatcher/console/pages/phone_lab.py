"""Virtual phones in the page: they register, hold a real line, lose the network, prove or stay silent."""

from typing import Any

from nicegui import ui

from dispatcher.console.frame import Visit, page
from dispatcher.console.markup import el, join
from dispatcher.console.pages.test_send import send_form
from dispatcher.console.pieces import card, empty_state, html, page_head


@page("/phone-lab", title="Phone lab", nav="phone-lab")
async def phone_lab(visit: Visit) -> None:
    """The phones run in the browser with the SDK's own client; everything goes through the real gateway and API."""
    page_head(
        "Phone lab",
        "Virtual phones that hold a real line to the gateway. Switch off network or acknowledgements, send a message, "
        "and watch the ladder climb.",
    )
    if not visit.operator.is_admin:
        html(
            empty_state("The phone lab is for admins", "It makes users and devices and shows messages unmasked."),
            "card",
        )
        return
    if visit.settings.sandbox_url is None:
        words = "No sandbox is configured, so pushes and texts go to the real providers and are not shown here. "
        html(el("p", words, "Set ", el("code", "console_sandbox_url"), " to see them."), "note")
    chosen: dict[str, str | None] = {"user": None}
    with ui.element("div").classes("grid-2"):
        with ui.element("div").classes("stack"):
            with card("Add a phone", "Each is a device of its user. Phones of one user share the number."):
                html(_add_form())
            phones = html(el("div", _nothing(), id="phones", class_="phones"))
        with card("Send", "To the user of the phone added last, or of the phone you touched last."):
            send_form(visit, lambda: chosen["user"])

    def choose(event: Any) -> None:
        chosen["user"] = str(event.args.get("detail", {}).get("user_id") or "") or None

    phones.on("lab-user", choose, args=["detail"])
    ui.add_body_html('<script type="module" src="/static/lab.js"></script>')


def _nothing() -> str:
    return el(
        "p", "No phone yet. Add one above: it registers and connects at once.", class_="empty-line", id="no-phones"
    )


def _add_form() -> str:
    platforms = [el("option", words, value=value) for value, words in (("ios", "iPhone"), ("android", "Android"))]
    return el(
        "form",
        el(
            "label",
            el("span", "User"),
            el("input", name="user_id", value="lab-li", required=True, pattern="[!-~]{1,128}"),
        ),
        el("label", el("span", "Platform"), el("select", platforms, name="platform")),
        el(
            "label",
            el("span", "Number for SMS"),
            el("input", name="number", value="+8613800138111", pattern=r"\+[0-9]{7,15}", inputmode="tel"),
        ),
        el("button", "Add phone", type="submit", class_="plain-button primary"),
        el("p", join(), id="lab-fault", role="alert", class_="lab-fault"),
        id="add-phone",
        class_="search",
        aria_label="Add a phone",
    )
