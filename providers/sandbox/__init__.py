"""Simulators of APNs, FCM and the SMS carrier: real protocols on loopback, scripted faults, a request log."""

from providers.sandbox.credentials import (
    ApnsCredentials,
    SandboxCredentials,
    SmsCredentials,
    ensure_credentials,
    load_credentials,
)
from providers.sandbox.server import Sandbox, serve
from providers.sandbox.settings import SandboxSettings

__all__ = [
    "ApnsCredentials",
    "Sandbox",
    "SandboxCredentials",
    "SandboxSettings",
    "SmsCredentials",
    "ensure_credentials",
    "load_credentials",
    "serve",
]
