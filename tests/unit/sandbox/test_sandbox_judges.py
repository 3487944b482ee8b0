"""Provider tokens over hours of moved time, and FCM's message rules under any JSON."""

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from providers.sandbox.apns_auth import ProviderTokens
from providers.sandbox.credentials import ApnsCredentials
from providers.sandbox.fcm_message import target_of, violation
from providers.sandbox.wire.exchange import Answer

NOON = 1_800_000_000.0
MINUTE = 60.0


class Connection:
    """One to be told apart from another."""

    number = 1
    last_stream: int | None = None

    def answer(self, stream: int, answer: Answer) -> bool:
        return True

    def go_away(self, last_stream: int) -> None:
        self.last_stream = last_stream

    def allow_streams(self, count: int) -> None:
        """Nothing to count here."""


@pytest.fixture(scope="module")
def credentials() -> ApnsCredentials:
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return ApnsCredentials(key_id="K", team_id="T", topic="com.example.im", key_pem=pem.decode())


def bearer(credentials: ApnsCredentials, issued: float, key_id: str = "K") -> bytes:
    claims = {"iss": "T", "iat": int(issued)}
    return b"bearer " + jwt.encode(claims, credentials.key_pem, "ES256", headers={"kid": key_id}).encode()


def test_a_token_renewed_every_40_minutes_serves_two_hours_on_one_connection(credentials: ApnsCredentials) -> None:
    tokens, connection = ProviderTokens(credentials), Connection()
    minted: dict[float, bytes] = {}
    for minute in range(0, 121, 5):
        now = NOON + minute * MINUTE
        issued = now - now % (40 * MINUTE)
        token = minted.setdefault(issued, bearer(credentials, issued))
        assert tokens.judge(token, connection, now, by_team=True) is None


@pytest.mark.parametrize(
    ("gap_min", "reason"),
    [(19, "TooManyProviderTokenUpdates"), (20, None), (-19, "TooManyProviderTokenUpdates")],
)
def test_tokens_less_than_20_minutes_apart_are_too_many(
    credentials: ApnsCredentials, gap_min: int, reason: str | None
) -> None:
    tokens, connection = ProviderTokens(credentials), Connection()
    assert tokens.judge(bearer(credentials, NOON), connection, NOON, by_team=False) is None
    later = NOON + max(gap_min, 0) * MINUTE
    assert tokens.judge(bearer(credentials, NOON + gap_min * MINUTE), connection, later, by_team=False) == reason


@pytest.mark.parametrize(("by_team", "reason"), [(False, None), (True, "TooManyProviderTokenUpdates")])
def test_two_connections_with_a_token_each_are_too_many_for_a_team_only(
    credentials: ApnsCredentials, by_team: bool, reason: str | None
) -> None:
    tokens = ProviderTokens(credentials)
    first, second = Connection(), Connection()
    assert tokens.judge(bearer(credentials, NOON), first, NOON, by_team=by_team) is None
    assert tokens.judge(bearer(credentials, NOON + 5), second, NOON + 5, by_team=by_team) == reason


def test_a_token_ages_while_it_is_used(credentials: ApnsCredentials) -> None:
    tokens, connection, token = ProviderTokens(credentials), Connection(), bearer(credentials, NOON)
    judged = [tokens.judge(token, connection, NOON + age, by_team=False) for age in (0, 3600, 3601)]
    assert judged == [None, None, "ExpiredProviderToken"]


@pytest.mark.parametrize(
    ("authorization", "reason"),
    [
        (None, "MissingProviderToken"),
        (b"basic eA==", "MissingProviderToken"),
        (b"bearer ", "MissingProviderToken"),
        (b"bearer a.b.c", "InvalidProviderToken"),
        (b"bearer \xff\xfe", "InvalidProviderToken"),
    ],
)
def test_what_is_no_provider_token(credentials: ApnsCredentials, authorization: bytes | None, reason: str) -> None:
    assert ProviderTokens(credentials).judge(authorization, Connection(), NOON, by_team=False) == reason


def test_foreign_keys_are_refused(credentials: ApnsCredentials) -> None:
    tokens = ProviderTokens(credentials)
    assert tokens.judge(bearer(credentials, NOON, "OTHER"), Connection(), NOON, by_team=False) == "InvalidProviderToken"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fields = st.sampled_from(["token", "fid", "data", "android", "apns", "notification", "webpush", "fcm_options", "x"])


@given(json_values | st.fixed_dictionaries({"message": st.dictionaries(fields, json_values, max_size=5)}))
def test_any_json_is_judged_without_an_accident(body: object) -> None:
    target_of(body)
    wrong = violation(body)
    assert wrong is None or isinstance(wrong.field, str)
