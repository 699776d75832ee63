"""Validation of ID tokens (OpenID Connect Core 1.0, section 3.1.3.7)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import jwt

from libs.security.tokens import MALFORMED_ERRORS, constant_time_equals

KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}  # `kty` of keys by the start of the algorithm's name
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms with public keys. With a symmetric algorithm or `none`, others than the provider could sign tokens."""
CLOCK_LEEWAY_SECONDS = 60
# `_check_claims` checks the times, with the caller's time
DECODE_OPTIONS: jwt.types.Options = {
    "verify_exp": False,
    "verify_iat": False,
    "verify_nbf": False,
    "require": ["iss", "sub", "aud", "exp", "iat", "nonce"],
}

Claims = Mapping[str, Any]
Jwk = Mapping[str, Any]  # a JSON Web Key (RFC 7517)


class InvalidIdToken(Exception):
    """The response or the ID token is not valid for this sign-in. The message contains no value of the token."""


class UnknownSigningKey(InvalidIdToken):
    """None of the known keys verifies the token. The provider may have a newer key."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What the token of a sign-in must contain."""

    issuer: str
    client_id: str
    nonce: str = field(repr=False)


def verify_id_token(token: str, keys: Sequence[Jwk], expected: Expectation, now: datetime) -> Claims:
    """Verify a token and return its claims. Raises InvalidIdToken or UnknownSigningKey."""
    try:
        header = jwt.get_unverified_header(token)
        algorithm, key_id = header.get("alg"), header.get("kid")
        if algorithm not in ALGORITHMS:
            raise InvalidIdToken("the ID token has no signature with a public key")
        key = jwt.PyJWK(dict(_find_key(keys, algorithm, key_id)), algorithm)
        claims: Claims = jwt.decode(
            token,
            key,
            algorithms=[algorithm],
            audience=expected.client_id,
            issuer=expected.issuer,
            options=DECODE_OPTIONS,
        )
    except jwt.InvalidSignatureError:
        raise UnknownSigningKey("the signature of the ID token is wrong") from None
    except jwt.InvalidAudienceError:
        raise InvalidIdToken("the ID token was issued for another client") from None
    except jwt.InvalidIssuerError:
        raise InvalidIdToken("the ID token was issued by another provider") from None
    except MALFORMED_ERRORS as error:
        raise InvalidIdToken(f"the ID token is malformed ({type(error).__name__})") from None
    _check_claims(claims, expected, now)
    return claims


def _find_key(keys: Sequence[Jwk], algorithm: str, key_id: object) -> Jwk:
    """Return the key with the id; without an id, the only key of the algorithm's type. Raises UnknownSigningKey."""
    suitable = [
        key
        for key in keys
        if key.get("kty") == KEY_TYPES[algorithm[:2]]
        and key.get("use", "sig") == "sig"
        and key.get("alg", algorithm) == algorithm
        and key_id in (None, key.get("kid"))
    ]
    if len(suitable) != 1:
        raise UnknownSigningKey("the provider has no key with the id in the ID token")
    return suitable[0]


def _check_claims(claims: Claims, expected: Expectation, now: datetime) -> None:
    seconds = now.timestamp()
    if _number(claims, "exp") + CLOCK_LEEWAY_SECONDS <= seconds:
        raise InvalidIdToken("the ID token has expired")
    if max(_number(claims, "iat"), _number(claims, "nbf", 0)) - CLOCK_LEEWAY_SECONDS > seconds:
        raise InvalidIdToken("the ID token is not valid yet; compare the clocks of both servers")
    if not isinstance(claims["nonce"], str) or not constant_time_equals(claims["nonce"], expected.nonce):
        raise InvalidIdToken("the ID token was issued for another sign-in")
    audience = claims["aud"]
    if claims.get("azp", expected.client_id) != expected.client_id:
        raise InvalidIdToken("the ID token was issued for another client")
    if isinstance(audience, list) and len(audience) > 1 and "azp" not in claims:
        raise InvalidIdToken("the ID token was issued for several clients")


def _number(claims: Claims, name: str, default: float | None = None) -> float:
    value = claims.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidIdToken(f"the claim {name} of the ID token is no time")
    return value
