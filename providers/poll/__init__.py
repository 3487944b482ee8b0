"""Polling: the inbox holds the message already; a parked poll is woken."""

from providers.poll.provider import PollProvider

__all__ = ["PollProvider"]
