"""The long connection: presence said which gateway node holds the device, the bus takes the frame there."""

from providers.longconn.provider import LongconnProvider

__all__ = ["LongconnProvider"]
