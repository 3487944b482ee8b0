"""Device tokens: forged, foreign, expired and mislabelled ones are refused before anything is read."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from hmac import digest

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dispatcher.domain.device_token import BadToken, DeviceIdentity, DeviceTokens

NOW = 1_800_000_000_000
TOKENS = DeviceTokens(b"s" * 32)
WHO = DeviceIdentity(app="im", user_id="li", device_id="d1", epoch=3, expires_at=NOW + 60_000)


def part(value: object) -> str:
    return urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refused(token: str, now: int = NOW) -> str:
    with pytest.raises(BadToken) as caught:
        TOKENS.read(token, now)
    return caught.value.code


def test_a_minted_token_names_app_user_device_and_epoch() -> None:
    assert TOKENS.read(TOKENS.mint(WHO, NOW), NOW) == WHO


def test_an_independent_jwt_library_reads_what_we_mint() -> None:
    claims = jwt.decode(
        TOKENS.mint(WHO, NOW),
        TOKENS._newest.key,
        algorithms=["HS256"],
        options={"verify_exp": False, "verify_iat": False},
    )
    assert (claims["sub"], claims["dev"], claims["exp"]) == ("li", "d1", WHO.expires_at // 1_000)


def test_it_ends_at_its_second() -> None:
    token = TOKENS.mint(WHO, NOW)
    assert TOKENS.read(token, WHO.expires_at - 1) == WHO
    assert refused(token, WHO.expires_at) == "expired"


def test_another_secret_signs_nothing_here() -> None:
    assert refused(DeviceTokens(b"t" * 32).mint(WHO, NOW)) == "invalid"
    assert "s" * 8 not in repr(TOKENS)


@pytest.mark.parametrize("header", [{"alg": "none", "typ": "JWT"}, {"typ": "JWT", "alg": "HS256"}, {"alg": "HS512"}])
def test_only_the_one_header_is_read(header: dict[str, str]) -> None:
    """Whatever a header asks for, even signed with our own key (the algorithm confusion of RFC 8725, 2.1)."""
    payload = TOKENS.mint(WHO, NOW).split(".")[1]
    signed = f"{part(header)}.{payload}".encode()
    signature = urlsafe_b64encode(digest(TOKENS._newest.key, signed, "sha256")).rstrip(b"=").decode()
    assert refused(f"{signed.decode()}.{signature}") == "invalid"
    assert refused(f"{signed.decode()}.") == "invalid"


@given(st.integers(0, 10_000), st.characters(min_codepoint=0x21, max_codepoint=0x7E))
def test_a_token_with_one_changed_character_is_refused(at: int, character: str) -> None:
    token = TOKENS.mint(WHO, NOW)
    at %= len(token)
    forged = token[:at] + character + token[at + 1 :]
    if forged != token:
        assert refused(forged) == "invalid"


@pytest.mark.parametrize("claims", [{}, {"app": "im"}, [], "x", {"app": 1, "sub": "li"}, None])
def test_signed_nonsense_is_refused(claims: object) -> None:
    header = TOKENS.mint(WHO, NOW).split(".")[0]
    signed = f"{header}.{part(claims)}".encode()
    signature = urlsafe_b64encode(digest(TOKENS._newest.key, signed, "sha256")).rstrip(b"=").decode()
    assert refused(f"{signed.decode()}.{signature}") == "invalid"


@given(st.text(max_size=200))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    assert refused(text) == "invalid"


def test_a_token_holds_nothing_secret() -> None:
    claims = json.loads(urlsafe_b64decode(TOKENS.mint(WHO, NOW).split(".")[1] + "=="))
    assert set(claims) == {"app", "sub", "dev", "epoch", "exp", "iat"}
