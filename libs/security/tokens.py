"""Tokens: EdDSA-signed ones that say who acts, and opaque ones of which only a hash is kept."""

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
# the time is compared here, against the caller's clock; `iat` is not, for clocks of replicas differ
DECODE_OPTIONS: jwt.types.Options = {
    "verify_exp": False,
    "verify_iat": False,
    "require": ["sub", "username", "roles", "epoch", "iat", "exp", "jti"],
}
# a stranger's text can nest a thousand lists, name numbers beyond all limits or have a list for a key id
MALFORMED_ERRORS = (jwt.PyJWTError, LookupError, TypeError, ValueError, OverflowError, RecursionError)


class InvalidToken(Exception):
    """Not a token of ours, whatever the reason: malformed, altered, signed by an unknown key."""


class UnknownKey(InvalidToken):
    """Signed by a key that is not among ours, which may be newer than those we know."""


class ExpiredToken(Exception):
    """A token of ours whose time is over."""


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
) -> str:
    claims = {
        "sub": str(subject),
        "username": username,
        "roles": list(roles),
        "epoch": epoch,
        "iat": int(now.timestamp()),
        "exp": int((now + timedelta(seconds=lifetime)).timestamp()),
        "jti": secrets.token_hex(16),
    }
    return jwt.encode(claims, _load_private_key(key.private_pem), algorithm=ALGORITHM, headers={"kid": key.kid})


def verify_token(token: str, public_keys: Mapping[str, str], now: datetime | None = None) -> TokenClaims:
    """Check a token against the PEM public keys by key id; without `now` the clock is asked."""
    try:
        kid = jwt.get_unverified_header(token)["kid"]
        pem = public_keys.get(kid)
    except MALFORMED_ERRORS as error:
        raise InvalidToken(type(error).__name__) from error
    if pem is None:
        raise UnknownKey
    key = _load_public_key(pem)  # an unreadable one is our mistake, not the token's
    try:
        claims = _parse_claims(jwt.decode(token, key, algorithms=[ALGORITHM], options=DECODE_OPTIONS))
    except MALFORMED_ERRORS as error:
        raise InvalidToken(type(error).__name__) from error
    if (now or datetime.now(UTC)) >= claims.expires_at:
        raise ExpiredToken(claims.expires_at.isoformat())
    return claims


def _parse_claims(payload: dict[str, Any]) -> TokenClaims:
    match payload:
        case {"sub": str(subject), "username": str(username), "roles": [*roles], "epoch": int(epoch), "exp": int(exp)}:
            if all(isinstance(role, str) for role in roles):
                return TokenClaims(int(subject), username, tuple(roles), epoch, datetime.fromtimestamp(exp, UTC))
    raise ValueError("claims of the wrong type")


# reading a PEM costs more than checking a signature
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
    """Enough for 256 random bits; a password needs `passwords.hash_password`."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def constant_time_equals(a: str, b: str) -> bool:
    """Compare in a time that does not depend on the place of the first difference."""
    return hmac.compare_digest(a.encode(errors="surrogatepass"), b.encode(errors="surrogatepass"))
