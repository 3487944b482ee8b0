"""Which addresses a webhook may reach: never our own networks, by whichever name they go (server-side request forgery).

A name is resolved once, every address it has is judged, and the connection goes to the very address that was judged:
a name that changes its mind in between (DNS rebinding) gains nothing.
"""

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import urlsplit

MAX_URL = 2_048
RESOLVE_S = 5.0
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052
_PORTS = {"http": 80, "https": 443}


class BadTarget(ValueError):
    """Never to be called; the text says why."""


class Unresolved(OSError):
    """The name has no address now."""


@dataclass(frozen=True, slots=True)
class Target:
    """A URL taken apart. ``authority`` is what the Host header says."""

    scheme: str
    host: str
    port: int
    authority: str
    path: str


def read_target(url: str) -> Target:
    """*url* where it can be a target at all; raises :class:`BadTarget`."""
    if len(url) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        raise BadTarget(f"write an http(s) URL of at most {MAX_URL} visible ASCII characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadTarget("this is no URL") from None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise BadTarget("write a URL that begins with https:// or http://")
    if parts.username is not None or parts.password is not None:
        raise BadTarget("no user name or password in the URL; receivers check the signature")
    if parts.fragment:
        raise BadTarget("no fragment in the URL")
    if port == 0:
        raise BadTarget("no such port")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    host = parts.hostname
    authority = parts.netloc.rpartition("@")[2]
    return Target(parts.scheme, host, port or _PORTS[parts.scheme], authority, path)


def is_public(text: str) -> bool:
    """Whether an address is somebody else's on the open internet. Addresses that carry another are judged by it."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        inner = _inside(address)
        if inner is not None:
            return is_public(str(inner))
    return (
        address.is_global
        and not address.is_multicast
        and not address.is_reserved
        and not address.is_loopback
        and not address.is_link_local
        and not address.is_unspecified
    )


def _inside(address: IPv6Address) -> IPv4Address | None:
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address.sixtofour is not None:
        return address.sixtofour
    if address.teredo is not None:
        return address.teredo[1]
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return None


async def resolve(target: Target, *, private: bool) -> str:
    """The address to connect to. Raises :class:`BadTarget` where any address is not public, else :class:`Unresolved`.

    *private*: settings allow private targets.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_S):
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError, TimeoutError):
        raise Unresolved("the name has no address") from None
    addresses = list(dict.fromkeys(str(row[4][0]) for row in found))
    if not addresses:
        raise Unresolved("the name has no address")
    if not private and not all(is_public(address) for address in addresses):
        raise BadTarget("the target is a private, loopback or link-local address")
    return addresses[0]
