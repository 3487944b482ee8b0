"""`pushpath send` and `pushpath device`: the SDK at a terminal. They need an address and a key, no settings."""

from dispatcher.cli.client.device import device
from dispatcher.cli.client.send import send

__all__ = ["device", "send"]
