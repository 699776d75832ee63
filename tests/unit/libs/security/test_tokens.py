"""Signed access tokens, valid and hostile ones, and random tokens with their hashes."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.security.tokens import (
    ExpiredToken,
    InvalidToken,
    TokenClaims,
    constant_time_equals,
    generate_signing_key,
    generate_token,
    hash_token,
    issue_token,
    verify_token,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = generate_signing_key()
OTHER = generate_signing_key()
KEYS = {KEY.kid: KEY.public_pem}
TOKEN = issue_token(KEY, subject=7, username="ann", roles=("admin", "developer"), epoch=3, now=NOW, lifetime=3600)
CLAIMS = {
    "sub": "7",
    "username": "ann",
    "roles": ["admin"],
    "epoch": 3,
    "iat": 1795348800,
    "exp": 4102444800,
    "jti": "j",
}


def base64_part(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode(errors="replace")).decode().rstrip("=")


def sign_claims(claims: dict[str, object], **headers: object) -> str:
    return jwt.encode(claims, KEY.private_pem, algorithm="EdDSA", headers={"kid": KEY.kid} | headers)


def test_an_issued_token_is_verified() -> None:
    assert verify_token(TOKEN, KEYS, NOW) == TokenClaims(
        user_id=7,
        username="ann",
        roles=("admin", "developer"),
        epoch=3,
        expires_at=NOW + timedelta(hours=1),
        signed_in_at=NOW,
    )


def test_a_token_of_an_earlier_release_was_issued_at_the_sign_in() -> None:
    claims = jwt.decode(TOKEN, options={"verify_signature": False})
    del claims["auth_time"]
    assert verify_token(sign_claims(claims), KEYS, NOW).signed_in_at == NOW


def test_the_header_names_key_and_algorithm() -> None:
    header = jwt.get_unverified_header(TOKEN)
    assert (header["alg"], header["kid"]) == ("EdDSA", KEY.kid)


def test_two_tokens_issued_at_the_same_time_differ() -> None:
    again = issue_token(KEY, subject=7, username="ann", roles=("admin", "developer"), epoch=3, now=NOW, lifetime=3600)
    assert again != TOKEN


def test_the_current_time_is_used_by_default() -> None:
    assert verify_token(sign_claims(CLAIMS), KEYS).user_id == 7


def test_a_token_is_valid_until_its_expiry() -> None:
    assert verify_token(TOKEN, KEYS, NOW + timedelta(seconds=3599.9)).user_id == 7


def test_a_token_is_expired_at_its_expiry() -> None:
    with pytest.raises(ExpiredToken):
        verify_token(TOKEN, KEYS, NOW + timedelta(hours=1))


def test_a_token_issued_in_the_future_is_accepted() -> None:
    assert verify_token(TOKEN, KEYS, NOW - timedelta(minutes=5)).user_id == 7


def test_a_token_of_an_older_key_is_accepted() -> None:
    assert verify_token(TOKEN, {OTHER.kid: OTHER.public_pem, KEY.kid: KEY.public_pem}, NOW).user_id == 7


HEAD, BODY, SIGNATURE = TOKEN.split(".")


def with_header(header: str) -> str:
    return f"{base64_part(header)}.{BODY}.{SIGNATURE}"


HOSTILE = {
    "empty": "",
    "dots": "..",
    "text": "no token",
    "not ascii": "tökén.ü.ß",
    "lone surrogate": "\ud800.\ud800.\ud800",
    "altered": f"{HEAD}.{base64_part(json.dumps(CLAIMS | {'roles': ['root']}))}.{SIGNATURE}",
    "no signature": f"{HEAD}.{BODY}.",
    "nested header": with_header("[" * 100_000),
    "huge number": with_header('{"kid": ' + "9" * 10_000 + "}"),
    "list as key id": with_header('{"alg": "EdDSA", "kid": [1]}'),
    "no key id": with_header('{"alg": "EdDSA"}'),
    "header is a list": with_header("[]"),
    "unsigned": jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": KEY.kid}),
    "public key as password": jwt.encode(CLAIMS, "x" * 64, algorithm="HS256", headers={"kid": KEY.kid}),
    "unknown key": issue_token(OTHER, subject=7, username="ann", roles=(), epoch=3, now=NOW, lifetime=3600),
    "signed by another": issue_token(
        replace(OTHER, kid=KEY.kid), subject=7, username="ann", roles=(), epoch=3, now=NOW, lifetime=3600
    ),
    "no roles": sign_claims({name: CLAIMS[name] for name in CLAIMS if name != "roles"}),
    "roles not a list": sign_claims(CLAIMS | {"roles": "admin"}),
    "role not a text": sign_claims(CLAIMS | {"roles": [1]}),
    "subject not a number": sign_claims(CLAIMS | {"sub": "ann"}),
    "epoch not a number": sign_claims(CLAIMS | {"epoch": "3"}),
    "end beyond the calendar": sign_claims(CLAIMS | {"exp": 10**30}),
    "claims not an object": f"{HEAD}.{base64_part('[]')}.{SIGNATURE}",
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_tokens_are_rejected(token: str) -> None:
    with pytest.raises(InvalidToken):
        verify_token(token, KEYS, NOW)


@given(
    st.text()
    | st.lists(st.text() | st.binary().map(lambda raw: base64_part(repr(raw))), min_size=3, max_size=3).map(".".join)
)
def test_arbitrary_text_is_rejected_as_a_token(text: str) -> None:
    with pytest.raises(InvalidToken):
        verify_token(text, KEYS, NOW)


@given(st.integers(min_value=0, max_value=len(TOKEN) - 2), st.characters())
def test_no_altered_token_is_accepted(position: int, character: str) -> None:
    altered = TOKEN[:position] + character + TOKEN[position + 1 :]
    assume(altered != TOKEN)
    with pytest.raises(InvalidToken):
        verify_token(altered, KEYS, NOW)


def test_an_invalid_public_key_raises_a_value_error() -> None:
    with pytest.raises(ValueError, match="PEM"):
        verify_token(TOKEN, {KEY.kid: "no key"}, NOW)


def test_the_repr_of_a_signing_key_hides_the_private_key() -> None:
    assert "PRIVATE" not in repr(KEY)


def test_opaque_tokens_are_long_and_unique() -> None:
    assert generate_token("hr-").startswith("hr-")
    assert len(generate_token()) == 43
    assert generate_token() != generate_token()


def test_a_token_hash_is_sha256() -> None:
    assert hash_token("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("a", "b", "equal"), [("a", "a", True), ("a", "b", False), ("a", "aa", False), ("ä", "ä", True)]
)
def test_constant_time_comparison_compares_texts(a: str, b: str, equal: bool) -> None:
    assert constant_time_equals(a, b) is equal


def test_texts_that_are_not_valid_utf8_can_be_hashed_and_compared() -> None:
    assert not constant_time_equals("\ud800", "a")
    assert len(hash_token("\ud800")) == 64
