"""ID tokens are accepted only for the sign-in that requested them."""

import json
from datetime import UTC, datetime
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key as generate_rsa_key
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from services.identity.oidc.id_tokens import (
    Expectation,
    InvalidIdToken,
    Jwk,
    UnknownSigningKey,
    verify_id_token,
)

NOW = datetime(2030, 5, 1, 12, tzinfo=UTC)
AT = int(NOW.timestamp())
EXPECTED = Expectation("https://sso.example.org/", "headrace", "the nonce")
CLAIMS = {
    "iss": EXPECTED.issuer,
    "sub": "248289761001",
    "aud": EXPECTED.client_id,
    "exp": AT + 300,
    "iat": AT,
    "nonce": EXPECTED.nonce,
}
RSA_KEY = generate_rsa_key(65537, 2048)
OTHER_KEY = generate_rsa_key(65537, 2048)
EC_KEY = generate_ec_key(SECP256R1())
ED_KEY = Ed25519PrivateKey.generate()


def public_jwk(algorithm: Any, key: Any, **more: str) -> Jwk:
    return {**json.loads(algorithm.to_jwk(key.public_key())), **more}


KEYS = (
    public_jwk(RSAAlgorithm, RSA_KEY, kid="rsa", use="sig"),
    public_jwk(RSAAlgorithm, OTHER_KEY, kid="encryption", use="enc"),
    public_jwk(ECAlgorithm, EC_KEY, kid="ec", alg="ES256"),
    public_jwk(OKPAlgorithm, ED_KEY, kid="ed"),
)


KEYS_BY_NAME: dict[str, Any] = {
    "rsa": RSA_KEY,
    "encryption": OTHER_KEY,
    "ec": EC_KEY,
    "ed": ED_KEY,
    "secret": "secret-secret-secret-secret-secret",
    "": "",
}


def id_token(key: str = "rsa", algorithm: str = "RS256", kid: str | None = "rsa", **claims: Any) -> str:
    """Return a token. A claim that is None is left out."""
    payload = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    headers = {"kid": kid} if kid else {}
    return jwt.encode(payload, KEYS_BY_NAME[key], algorithm=algorithm, headers=headers)


@pytest.mark.parametrize(
    "token",
    [
        {},
        {"algorithm": "PS384"},
        {"key": "ec", "algorithm": "ES256", "kid": "ec"},
        {"key": "ed", "algorithm": "EdDSA", "kid": "ed"},
        {"kid": None},  # without a key id, the only RSA key for signatures is used
        {"aud": ["headrace"]},
        {"aud": ["headrace", "other"], "azp": "headrace"},
        {"exp": AT - 59, "iat": AT + 59},  # the clocks of two servers differ
    ],
)
def test_a_token_of_this_sign_in_is_accepted(token: dict[str, Any]) -> None:
    assert verify_id_token(id_token(**token), KEYS, EXPECTED, NOW)["sub"] == "248289761001"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({"nonce": "another"}, "another sign-in"),
        ({"nonce": None}, "malformed"),
        ({"nonce": 7}, "another sign-in"),
        ({"aud": "other"}, "another client"),
        ({"aud": ["headrace", "other"]}, "several clients"),
        ({"aud": ["headrace", "other"], "azp": "other"}, "another client"),
        ({"aud": "headrace", "azp": "other"}, "another client"),
        ({"iss": "https://sso.example.org"}, "another provider"),  # the issuer without its final slash
        ({"exp": AT - 60}, "expired"),
        ({"exp": "tomorrow"}, "exp"),
        ({"exp": None}, "malformed"),
        ({"iat": AT + 61}, "not valid yet"),
        ({"nbf": AT + 61}, "not valid yet"),
        ({"sub": None}, "malformed"),
        ({"key": "secret", "algorithm": "HS256"}, "no signature with a public key"),
        ({"key": "", "algorithm": "none"}, "no signature with a public key"),
    ],
)
def test_other_tokens_are_rejected(token: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidIdToken, match=reason):
        verify_id_token(id_token(**token), KEYS, EXPECTED, NOW)


@pytest.mark.parametrize("token", ["", "a.b.c", "eyJhbGciOiJSUzI1NiJ9.e30.", "ключ"])
def test_malformed_tokens_are_rejected(token: str) -> None:
    with pytest.raises(InvalidIdToken):
        verify_id_token(token, KEYS, EXPECTED, NOW)


@pytest.mark.parametrize(
    "token",
    [
        {"key": "encryption"},  # signed by another key than its id says
        {"key": "encryption", "kid": "encryption"},
        {"kid": "rotated"},
        {"kid": "ec"},  # a key of another type
    ],
)
def test_a_token_without_a_matching_key_may_have_a_newer_one(token: dict[str, Any]) -> None:
    with pytest.raises(UnknownSigningKey):
        verify_id_token(id_token(**token), KEYS, EXPECTED, NOW)


def test_a_key_that_is_no_public_key_is_not_used() -> None:
    secret = {"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA", "kid": "rsa"}
    with pytest.raises(InvalidIdToken, match="no signature with a public key"):
        verify_id_token(id_token("secret", "HS256"), [secret], EXPECTED, NOW)
    with pytest.raises(UnknownSigningKey):
        verify_id_token(id_token(), [secret], EXPECTED, NOW)
