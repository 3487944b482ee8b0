"""The Python SDK: :class:`Sender` for backends, :class:`DeviceClient` for devices. Needs no server dependency."""

from dispatcher.client.device import DeviceClient
from dispatcher.client.errors import MovedAway, PushpathError
from dispatcher.client.sender import Sender, new_message_id
from dispatcher.client.subscriptions import Heartbeat, LineState, LoginState, MessageState, PullFailed
from dispatcher.protocol.client_session import Keepsake, Notebook
from dispatcher.protocol.frames import Msg

__all__ = [
    "DeviceClient",
    "Heartbeat",
    "Keepsake",
    "LineState",
    "LoginState",
    "MessageState",
    "MovedAway",
    "Msg",
    "Notebook",
    "PullFailed",
    "PushpathError",
    "Sender",
    "new_message_id",
]
