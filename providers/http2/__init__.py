"""The shared transport: one request, one answer or one fault, never a hidden retry."""

from providers.http2.curl import CurlTransport
from providers.http2.exchange import Cause, Identity, Kind, Reply, Request, Transport, TransportFault, request

__all__ = ["Cause", "CurlTransport", "Identity", "Kind", "Reply", "Request", "Transport", "TransportFault", "request"]
