"""Whom webhooks may reach, and how a POST is signed."""

import socket
from typing import Any

import pytest

from dispatcher.webhooks.signing import make_secret, read_secret, signed_headers
from dispatcher.webhooks.targets import BadTarget, Unresolved, is_public, read_target, resolve


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.9.9.9",
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",  # cloud metadata
        "100.64.0.1",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fc00::1",
        "ff02::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "not an address",
    ],
)
def test_our_own_networks_are_never_reached(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700:4700::1111", "::ffff:8.8.8.8"])
def test_the_open_internet_is(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com/",
        "https://",
        "https:///path",
        "https://user:pass@example.com/",
        "https://example.com/#part",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://exa mple.com/",
        "https://例子.com/",
        "javascript:alert(1)",
        "https://example.com/\r\nX: y",
        "https://example.com/" + "a" * 3000,
    ],
)
def test_what_is_no_target_is_refused(url: str) -> None:
    with pytest.raises(BadTarget):
        read_target(url)


def test_a_target_is_taken_apart() -> None:
    target = read_target("https://[2001:db8::1]:8443/a/b?c=d")
    assert (target.host, target.port, target.authority, target.path) == (
        "2001:db8::1",
        8443,
        "[2001:db8::1]:8443",
        "/a/b?c=d",
    )


def found(*addresses: str) -> Any:
    async def answer(*_: Any, **__: Any) -> list[Any]:
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443)) for address in addresses]

    return answer


async def test_a_name_with_one_private_address_is_refused_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    import asyncio

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", found("8.8.8.8", "10.0.0.5"), raising=False)
    target = read_target("https://mixed.example/")
    with pytest.raises(BadTarget):
        await resolve(target, private=False)
    assert await resolve(target, private=True) == "8.8.8.8"


async def test_a_name_without_an_address_may_have_one_later() -> None:
    with pytest.raises(Unresolved):
        await resolve(read_target("https://nowhere.invalid/"), private=False)


def test_signatures_follow_the_specifications_example() -> None:
    """The example of https://github.com/standard-webhooks/standard-webhooks, libraries' shared test vector."""
    key = read_secret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    headers = signed_headers(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330_000, b'{"test": 2432232314}')
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_a_made_secret_reads_back() -> None:
    assert read_secret(make_secret(lambda size: b"x" * size)) == b"x" * 32


@pytest.mark.parametrize(
    "text", ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!!!", "whsec_é"]
)
def test_bad_secrets_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        read_secret(text)
