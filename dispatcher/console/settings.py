"""What the console process must know. It holds no key and no master secret: operators bring their own rights."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ConsoleSettings:
    """Where the console listens, which API it asks, where it keeps what must outlive a restart."""

    host: str
    port: int
    #: The API as the console reaches it, without a path.
    api_url: str
    #: For NiceGUI's storage (preferences) and the secret that signs its cookies.
    directory: Path
    #: The simulators' control address; the phone lab shows pushes and texts of the simulators where it is set.
    sandbox_url: str | None = None
    #: Cookies over HTTPS only.
    secure_cookies: bool = False

    def cookie_secret(self) -> str:
        """Signs cookies; made on the first start, mode 0600. Without it nobody can forge a session's number."""
        path = self.directory / "cookie-secret"
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            found = path.read_text().strip()
            if found:
                return found
            fd = os.open(path, os.O_WRONLY | os.O_TRUNC, 0o600)
        made = secrets.token_urlsafe(48)
        with os.fdopen(fd, "w") as file:
            file.write(made)
        return made


def console_settings(values: Mapping[str, Any]) -> ConsoleSettings:
    """From settings as they are written (file and ``PUSHPATH_*``), by key; ValueError says what is wrong.

    The console needs neither ledger nor hot store, so it reads its own keys only.
    """
    api_url = str(values.get("console_api_url") or values.get("public_url") or "http://127.0.0.1:8080")
    sandbox_url = values.get("console_sandbox_url")
    for name, url in (("console_api_url", api_url), ("console_sandbox_url", sandbox_url)):
        if url is not None and not str(url).startswith(("http://", "https://")):
            raise ValueError(f"{name}: write a URL with http:// or https://")
    try:
        port = int(values.get("console_port", 8082))
    except (TypeError, ValueError):
        raise ValueError("console_port: write a number") from None
    if not 0 < port <= 65_535:
        raise ValueError("console_port: write a number from 1 to 65535")
    return ConsoleSettings(
        host=str(values.get("console_host", "127.0.0.1")),
        port=port,
        api_url=api_url.rstrip("/"),
        directory=Path(str(values.get("console_dir", ".pushpath/console"))).absolute(),
        sandbox_url=str(sandbox_url).rstrip("/") if sandbox_url else None,
        secure_cookies=str(values.get("console_secure_cookies", False)).lower() in {"true", "1", "yes"},
    )
