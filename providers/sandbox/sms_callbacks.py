"""Posts status callbacks, signed as Twilio signs them (twilio.com/docs/usage/security)."""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

import httpx
from twilio.request_validator import RequestValidator

from providers.sandbox.script import ReceiptScript
from providers.sandbox.sms_message import REORDER_S, Step, Text

_log = logging.getLogger(__name__)
WAITING = 100_000
"""Callbacks that may wait; one more is not posted, and its text's ``callbacks`` in the outbox says so."""
POSTERS = 16
TIMEOUT_S = 15.0  #: Twilio's own limit


class Callback(NamedTuple):
    """One POST to make."""

    text: Text
    step: Step
    forged: bool


class Callbacks:
    """Twilio posts each callback once, whatever the answer; doubling and reordering are scripted."""

    def __init__(self, auth_token: str, clock: Callable[[], float]) -> None:
        self._validator = RequestValidator(auth_token)
        self._forger = RequestValidator(secrets.token_hex(16))
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._queue: asyncio.Queue[Callback] = asyncio.Queue(WAITING)
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False, follow_redirects=False)
        self._posters = [asyncio.create_task(self._post_for_ever()) for _ in range(POSTERS)]

    def follow(self, text: Text, steps: list[Step], receipt: ReceiptScript) -> None:
        """Move *text* through *steps* in time, and post them as *receipt* says."""
        last = steps[-1].after_s if steps else 0.0
        repeat = 1 if receipt.repeat is None else receipt.repeat
        for place, step in enumerate(steps):
            self._loop.call_later(step.after_s, self._reach, text, step)
            if text.callback is None:
                continue
            late = place < len(steps) - 1 and receipt.reorder
            callback = Callback(text, step, bool(receipt.forge))
            self._loop.call_later(last + REORDER_S if late else step.after_s, self._offer, callback, repeat)

    async def stop(self) -> None:
        """Drop what waits."""
        for poster in self._posters:
            poster.cancel()
        await asyncio.gather(*self._posters, return_exceptions=True)
        await self._client.aclose()

    def _reach(self, text: Text, step: Step) -> None:
        text.reach(step, self._clock())

    def _offer(self, callback: Callback, repeat: int) -> None:
        for _ in range(repeat):
            try:
                self._queue.put_nowait(callback)
            except asyncio.QueueFull:
                self._note(callback, None, "too many callbacks wait")

    async def _post_for_ever(self) -> None:
        while True:
            callback = await self._queue.get()
            try:
                await self._post(callback)
            except Exception:  # noqa: BLE001 - the poster must live on
                _log.exception("a status callback failed")

    async def _post(self, callback: Callback) -> None:
        url = callback.text.callback
        if url is None:
            return
        form = callback.text.form(callback.step)
        signer = self._forger if callback.forged else self._validator
        headers = {
            "X-Twilio-Signature": signer.compute_signature(url, form),
            "I-Twilio-Idempotency-Token": secrets.token_hex(16),
            "User-Agent": "TwilioProxy/1.1",
        }
        try:
            reply = await self._client.post(url, data=form, headers=headers)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._note(callback, None, type(error).__name__)
        else:
            self._note(callback, reply.status_code, None)

    def _note(self, callback: Callback, answer: int | None, error: str | None) -> None:
        at = datetime.fromtimestamp(self._clock(), UTC).isoformat(timespec="milliseconds")
        callback.text.callbacks.append({"at": at, "status": callback.step.status, "answer": answer, "error": error})
