"""The shared transports: one request, one answer or one fault.

:class:`Http2Transport` is our own HTTP/2 for pushes: exact about what was processed, and cheap. :class:`CurlTransport`
is libcurl, for whatever else speaks HTTP. Both are a :class:`Transport` that
:class:`BeginsBatches`.
"""

from providers.http2.curl import CurlTransport
from providers.http2.exchange import (
    Batch,
    BeginsBatches,
    Cause,
    Identity,
    Kind,
    Reply,
    Request,
    Transport,
    TransportFault,
    request,
)
from providers.http2.pool import Http2Transport
from providers.http2.trust import client_context

__all__ = [
    "Batch",
    "BeginsBatches",
    "Cause",
    "CurlTransport",
    "Http2Transport",
    "Identity",
    "Kind",
    "Reply",
    "Request",
    "Transport",
    "TransportFault",
    "client_context",
    "request",
]
