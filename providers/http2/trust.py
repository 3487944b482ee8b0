"""Whom a transport believes, and what it shows of itself."""

import os
import ssl
import tempfile
from pathlib import Path

from providers.http2.exchange import Identity


def client_context(ca_file: str | None = None, identity: Identity | None = None) -> ssl.SSLContext:
    """TLS 1.2 or later with ``h2``; the system's authorities unless *ca_file* names others.

    Raises OSError where *ca_file* cannot be read, ssl.SSLError where it or *identity* is no PEM.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["h2"])
    if identity is not None:
        # The ssl module reads certificates from files only; this one is the owner's and gone at once.
        descriptor, name = tempfile.mkstemp(prefix="pushpath-")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(identity.certificate + b"\n" + identity.key)
            context.load_cert_chain(name)
        finally:
            Path(name).unlink()
    return context
