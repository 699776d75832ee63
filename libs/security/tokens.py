"""Signed access tokens (JWT with EdDSA, RFC 8037), and opaque tokens, of which only a hash is stored."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

ALGORITHM = "EdDSA"
# expiry is checked in `verify_token` with the caller's time; `iat` is not checked, because clocks of replicas differ
DECODE_OPTIONS: jwt.types.Options = {
    "verify_exp": False,
    "verify_iat": False,
    "require": ["sub", "username", "roles", "epoch", "iat", "exp", "jti"],
}
# malicious tokens can have deeply nested lists, huge numbers or a list as key id
MALFORMED_ERRORS = (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError, RecursionError)


class InvalidToken(Exception):
    """The token is malformed, altered or signed by an unknown key."""


class UnknownKey(InvalidToken):
    """The token is signed by an unknown key, possibly one newer than the cached keys."""


class ExpiredToken(Exception):
    pass


@dataclass(frozen=True, slots=True)
class SigningKey:
    kid: str
    private_pem: str = field(repr=False)
    public_pem: str


@dataclass(frozen=True, slots=True)
class TokenClaims:
    user_id: int
    username: str
    roles: tuple[str, ...]
    epoch: int
    expires_at: datetime
    signed_in_at: datetime  # earlier than the time of the token if the session was renewed


def generate_signing_key() -> SigningKey:
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    return SigningKey(
        kid=hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16],
        private_pem=private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        public_pem=public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode(),
    )


def issue_token(
    key: SigningKey,
    *,
    subject: int,
    username: str,
    roles: tuple[str, ...],
    epoch: int,
    now: datetime,
    lifetime: int,  # seconds
    signed_in_at: datetime | None = None,  # None: now
) -> str:
    claims = {
        "sub": str(subject),
        "username": username,
        "roles": list(roles),
        "epoch": epoch,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=lifetime)).timestamp()),
        "jti": secrets.token_hex(16),
        "auth_time": int((signed_in_at or now).timestamp()),  # OpenID Connect Core, section 2
    }
    return jwt.encode(claims, _load_private_key(key.private_pem), algorithm=ALGORITHM, headers={"kid": key.kid})


def verify_token(token: str, public_keys: Mapping[str, str], now: datetime | None = None) -> TokenClaims:
    """Verify a token with the PEM public keys by key id, at time `now` (default: the current time).

    Raises InvalidToken, UnknownKey or ExpiredToken.
    """
    try:
        kid = jwt.get_unverified_header(token)["kid"]
        pem = public_keys.get(kid)
    except MALFORMED_ERRORS as error:
        raise InvalidToken(type(error).__name__) from error
    if pem is None:
        raise UnknownKey
    key = _load_public_key(pem)  # an unreadable PEM is a defect, not an invalid token
    try:
        claims = _parse_claims(jwt.decode(token, key, algorithms=[ALGORITHM], options=DECODE_OPTIONS))
    except MALFORMED_ERRORS as error:
        raise InvalidToken(type(error).__name__) from error
    if (now or datetime.now(UTC)) >= claims.expires_at:
        raise ExpiredToken(claims.expires_at.isoformat())
    return claims


def _parse_claims(payload: dict[str, Any]) -> TokenClaims:
    match payload:
        case {
            "sub": str(subject),
            "username": str(username),
            "roles": [*roles],
            "epoch": int(epoch),
            "exp": int(exp),
            "iat": int(issued_at),
        }:
            signed_in_at = payload.get("auth_time", issued_at)  # tokens of release 0.2.0 have none
            if all(isinstance(role, str) for role in roles) and isinstance(signed_in_at, int):
                return TokenClaims(
                    int(subject),
                    username,
                    tuple(roles),
                    epoch,
                    datetime.fromtimestamp(exp, UTC),
                    datetime.fromtimestamp(signed_in_at, UTC),
                )
    raise ValueError("claims of the wrong type")


# cached, because parsing a PEM costs more than verifying a signature
@lru_cache(maxsize=16)
def _load_private_key(pem: str) -> Ed25519PrivateKey:
    key = load_pem_private_key(pem.encode(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 key")
    return key


@lru_cache(maxsize=16)
def _load_public_key(pem: str) -> Ed25519PublicKey:
    key = load_pem_public_key(pem.encode())
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("not an Ed25519 key")
    return key


def generate_token(prefix: str = "") -> str:
    return prefix + secrets.token_urlsafe(32)


def hash_token(token: str) -> str:
    """Return the SHA-256 of a token. Sufficient for 256 random bits; passwords need `passwords.hash_password`."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def constant_time_equals(a: str, b: str) -> bool:
    """Return whether two strings are equal. The time does not depend on the position of the first difference."""
    return hmac.compare_digest(a.encode(errors="surrogatepass"), b.encode(errors="surrogatepass"))
