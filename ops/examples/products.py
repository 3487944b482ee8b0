"""The three products: what each dispatches, and what must become of it."""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any


def a_number() -> str:
    """One that nobody has: 555-01xx is kept for fiction."""
    return f"+1{secrets.randbelow(700) + 201}555{secrets.randbelow(100) + 100:04d}"


async def chat(product: Any) -> None:
    """An open app gets it at once; a closed one is woken by a push and fetches it."""
    li = await product.user("li")
    async with product.phone(li) as phone:
        async with product.on_screen(phone):
            first = await product.dispatch(li, "chat", "Wang", "Are you there?", collapse_key="c42")
            await product.confirmed(first, "longconn", "on the screen")
            product.check(phone.screen == [first], "the phone shows it once")
        second = await product.dispatch(li, "chat", "Wang", "Never mind.", collapse_key="c42")
        ids = await product.pushed(phone, second)
        await product.receipt(phone, ids, "delivered")
        await product.confirmed(second, "apns", "everyone")


async def otp(product: Any) -> None:
    """Without the app the code goes by SMS at once; with the app open it costs nothing."""
    number = a_number()
    tom = await product.user("tom", number=number)
    code = await product.dispatch(tom, "otp", "Your code", "271828")
    await product.confirmed(code, "sms", "no app")
    product.check(len(await product.texts(number)) == 1, "one SMS, no more")
    number = a_number()
    mei = await product.user("mei", number=number)
    async with product.phone(mei) as phone, product.on_screen(phone):
        code = await product.dispatch(mei, "otp", "Your code", "314159")
        await product.confirmed(code, "longconn", "on the screen")
    product.check(await product.texts(number) == [], "no SMS where the app shows the code itself")


async def alert(product: Any) -> None:
    """An alarm rings on every phone until somebody has seen it there; where nobody looks, an SMS goes."""
    number = a_number()
    home = await product.user("home", number=number)
    async with product.phone(home, "kitchen") as kitchen, product.phone(home, "bedroom") as bedroom:
        alarm = await product.dispatch(home, "alarm", "Smoke", "In the cellar")
        for phone in (kitchen, bedroom):
            await product.receipt(phone, await product.pushed(phone, alarm), "displayed")
        await product.confirmed(alarm, "apns", "alarm")
        product.check(await product.texts(number) == [], "no SMS where both phones showed it")
        alarm = await product.dispatch(home, "alarm", "Smoke", "In the attic")
        for phone in (kitchen, bedroom):
            await product.receipt(phone, await product.pushed(phone, alarm), "delivered")
        product.say("  nobody looks ...")

        async def text() -> Any:
            return await product.texts(number) or None

        product.check(len(await product.until(text, "the SMS arrives")) == 1, "one SMS where nobody looked")


PLAYS: dict[str, Callable[[Any], Awaitable[None]]] = {"chat": chat, "otp": otp, "alert": alert}
