"""One provider token per team, whoever makes it, never too old and never too often."""

import itertools

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from providers.apns.signer import BadKey, Signer

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = 1_800_000_000_000
MINUTE = 60_000


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def test_every_worker_makes_the_same_bytes() -> None:
    workers = [Signer(pem(KEY), "KEY1234567", "TEAM123456") for _ in range(8)]
    assert len({worker.bearer(NOW) for worker in workers}) == 1


def test_the_token_is_a_valid_es256_jwt() -> None:
    token = Signer(pem(KEY), "KEY1234567", "TEAM123456").bearer(NOW).removeprefix("bearer ")
    assert jwt.get_unverified_header(token) == {"alg": "ES256", "kid": "KEY1234567", "typ": "JWT"}
    claims = jwt.decode(token, KEY.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert claims["iss"] == "TEAM123456"
    assert 0 <= NOW / 1_000 - claims["iat"] < 2_400


def test_eight_workers_with_idle_gaps_renew_no_more_than_every_20_and_no_less_than_every_60_minutes() -> None:
    workers = [Signer(pem(KEY), "KEY1234567", "TEAM123456") for _ in range(8)]
    first_use: dict[str, int] = {}
    for minute in range(120):
        for place, worker in enumerate(workers):
            if (minute + place) % (place + 1) == 0:
                token = worker.bearer(NOW + minute * MINUTE)
                first_use.setdefault(token, minute)
                claims = jwt.decode(token[7:], KEY.public_key(), algorithms=["ES256"], options={"verify_iat": False})
                assert NOW / 1_000 + minute * 60 - claims["iat"] <= 3_600
    uses = sorted(first_use.values())
    assert len(uses) <= 4
    assert all(later - earlier >= 20 for earlier, later in itertools.pairwise(uses[1:]))


@pytest.mark.parametrize(("minutes", "issued"), [(0, 0), (19, 0), (20, 20), (39, 20)])
def test_a_token_called_too_old_is_renewed_by_twenty_minutes_at_most(minutes: int, issued: int) -> None:
    slot = NOW // (40 * MINUTE) * 40 * MINUTE
    signer = Signer(pem(KEY), "KEY1234567", "TEAM123456")
    token = signer.renewed_bearer(slot + minutes * MINUTE)
    claims = jwt.decode(token[7:], KEY.public_key(), algorithms=["ES256"], options={"verify_iat": False})
    assert claims["iat"] * 1_000 == slot + issued * MINUTE
    assert signer.bearer(slot + minutes * MINUTE) == token
    assert signer.bearer(slot + 40 * MINUTE) != token


@pytest.mark.parametrize(
    "text",
    [
        "",
        "AuthKey.p8",
        "-----BEGIN PRIVATE KEY-----\nnonsense\n-----END PRIVATE KEY-----",
        pem(ec.generate_private_key(ec.SECP384R1())),
    ],
)
def test_what_is_no_key_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(BadKey) as caught:
        Signer(text, "KEY1234567", "TEAM123456")
    assert "nonsense" not in str(caught.value)


def test_the_key_never_shows() -> None:
    assert "PRIVATE" not in repr(Signer(pem(KEY), "KEY1234567", "TEAM123456"))
