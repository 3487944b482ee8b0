"""Where the simulators listen and where they keep their certificate and credentials."""

from dataclasses import dataclass
from pathlib import Path

LOG_LIMIT = 250_000
"""Requests each log keeps by default, about 1.2 KB each (300 MB when full); ``RequestLog`` says what happens beyond."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SandboxSettings:
    """Ports are fixed so that a restarted sandbox is found again; 0 lets the system choose (tests)."""

    directory: Path
    host: str = "127.0.0.1"
    control_port: int = 8090
    apns_port: int = 8091
    fcm_port: int = 8092
    sms_port: int = 8093
    fcm_tls_port: int = 8094
    apns_sandbox_port: int = 8095
    log_limit: int = LOG_LIMIT

    @property
    def oauth_url(self) -> str | None:
        """Google's token endpoint as this sandbox will serve it, or None while the port is not known."""
        return f"http://{self.host}:{self.fcm_port}/token" if self.fcm_port else None
