"""A gateway's weight is to be its connections': what it never uses is not loaded with it."""

import subprocess
import sys

PROGRAM = """
import sys
import click
from dispatcher.cli import pushpath
assert pushpath.get_command(click.Context(pushpath), "gateway") is not None
import dispatcher.gateway.server, dispatcher.phone_desk, dispatcher.phone_stores
from dispatcher.telemetry import Metrics
Metrics()
print(*sorted(sys.modules))
"""
NEVER_USED = {
    "alembic",
    "cel_expr_python",
    "celery",
    "cryptography.hazmat.primitives.ciphers",
    "dispatcher.bootstrap",
    "dispatcher.core",
    "firebase_admin",
    "httpx",
    "litestar",
    "pycurl",
    "rich",
    "sqlalchemy",
    "strategies.engine",
    "uvicorn",
    "yaml",
}


def test_a_gateway_loads_what_phones_need_and_nothing_else() -> None:
    told = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True).stdout
    loaded = set(told.split())
    assert "dispatcher.gateway.line" in loaded
    assert loaded & NEVER_USED == set()
