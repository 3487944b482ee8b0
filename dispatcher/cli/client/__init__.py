"""The SDK at a terminal: `send`, `device`, `webhooks`, `templates`. They need an address and a key, no settings."""

from dispatcher.cli.client.device import device
from dispatcher.cli.client.send import send
from dispatcher.cli.client.templates import templates
from dispatcher.cli.client.webhooks import webhooks

__all__ = ["device", "send", "templates", "webhooks"]
