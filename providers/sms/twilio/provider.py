"""The sms path through Twilio."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from twilio.base.exceptions import TwilioException, TwilioRestException
from twilio.rest import Client

from dispatcher.domain.clock import DAY, MINUTE, SECOND, Millis, from_datetime, to_datetime
from dispatcher.domain.outcome import HandedOver, Outcome, Rejected, Unknown
from providers.base import Attempt, Limits
from providers.http2 import Transport, TransportFault
from providers.sms.twilio.callbacks import callback_url
from providers.sms.twilio.errors import read
from providers.sms.twilio.wire import TransportHttpClient, retry_after_ms
from providers.text import mend

LONGEST_VALIDITY_S = 36_000  #: https://www.twilio.com/docs/messaging/api/message-resource
_CLOCKS_APART: Millis = 5 * MINUTE
_LOOKED_AT = 50


class TwilioProvider:
    """Sends texts from one number or Messaging Service. *base_url* None: Twilio's own.

    Nothing is ever sent twice here: without an answer an attempt is unknown, and :meth:`look_up` asks Twilio.
    """

    def __init__(
        self,
        *,
        transport: Transport,
        account_sid: str,
        auth_token: str,
        public_url: str,
        from_number: str | None = None,
        messaging_service_sid: str | None = None,
        base_url: str | None = None,
        limits: Limits = Limits(batch=50, payload_bytes=6_400, concurrent=50, deadline_ms=15_000),  # noqa: B008
    ) -> None:
        self.limits = limits
        self._transport = transport
        self._public_url = public_url
        self._sender: dict[str, Any] = (
            {"messaging_service_sid": messaging_service_sid} if messaging_service_sid else {"from_": from_number}
        )
        http = TransportHttpClient(transport, base_url, limits.deadline_ms)
        self._client = Client(account_sid, auth_token, http_client=http, environment={"": ""})

    async def send(self, attempts: Sequence[Attempt], now: Millis) -> list[Outcome]:
        """See :class:`~providers.base.Provider`."""
        if len(attempts) == 1:
            return [await self._send(attempts[0], now)]
        return list(await asyncio.gather(*(self._send(attempt, now) for attempt in attempts)))

    async def _send(self, attempt: Attempt, now: Millis) -> Outcome:
        if not attempt.phone or not attempt.text:
            return Rejected("no_number" if not attempt.phone else "no_text")
        validity_s = min(LONGEST_VALIDITY_S, max(1, (attempt.expires_at - now) // SECOND))
        retry_after_ms.set(None)
        try:
            text = await self._client.messages.create_async(
                to=attempt.phone,
                body=mend(attempt.text),
                status_callback=callback_url(self._public_url, attempt.attempt_id),
                validity_period=validity_s,
                **self._sender,
            )
        except TransportFault as fault:
            return fault.outcome
        except TwilioRestException as refusal:
            code = refusal.code if refusal.code != refusal.status else None
            return read(refusal.status, code, retry_after_ms.get())
        except (TwilioException, ValueError, KeyError, TypeError):
            return Unknown("twilio_answer")  # an answer nobody can read: it may have been a yes
        return HandedOver(text.sid)

    async def look_up(self, attempt: Attempt) -> Outcome | None:
        """What became of an unknown *attempt*: HandedOver or Rejected where Twilio has its text, None where it has not
        (yet), Unknown where Twilio could not be asked.

        Twilio has no idempotency key and does not show callback URLs: asked for the number since the message's day, a
        text with our words that was made after the message was accepted is ours. Where an equal text of another message
        might be meant, silence beats double billing.
        """
        if not attempt.phone or not attempt.text:
            return None
        since = attempt.message.accepted_at - _CLOCKS_APART
        words = mend(attempt.text)
        try:
            found = await self._client.messages.list_async(
                to=attempt.phone,
                date_sent_after=to_datetime(since - since % DAY).date() - timedelta(days=1),
                limit=_LOOKED_AT,
                page_size=_LOOKED_AT,
            )
        except TransportFault as fault:
            return Unknown(f"look_up_{fault.cause}")
        except (TwilioException, ValueError, KeyError, TypeError):
            return Unknown("look_up_refused")
        for text in found:
            made = text.date_created
            if text.body == words and (made is None or from_datetime(made) >= since):
                if text.status in {"failed", "undelivered", "canceled"}:
                    return Rejected(f"twilio_{text.error_code or text.status}")
                return HandedOver(text.sid)
        return None

    async def close(self) -> None:
        """Ends connections."""
        await self._transport.close()
