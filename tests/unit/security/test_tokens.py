"""Signed tokens are read as issued or refused; opaque ones are long, hashed and compared in constant time."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import jwt
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from libs.security.tokens import (
    TokenClaims,
    TokenExpired,
    TokenInvalid,
    issue,
    new_signing_key,
    new_token,
    read,
    same,
    token_hash,
)

NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
KEY = new_signing_key()
OTHER = new_signing_key()
KEYS = {KEY.kid: KEY.public_pem}
TOKEN = issue(KEY, subject=7, username="ann", roles=("admin", "developer"), epoch=3, now=NOW, lifetime=3600)
CLAIMS = {
    "sub": "7",
    "username": "ann",
    "roles": ["admin"],
    "epoch": 3,
    "iat": 1795348800,
    "exp": 4102444800,
    "jti": "j",
}


def part(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode(errors="replace")).decode().rstrip("=")


def signed(claims: dict[str, object], **headers: object) -> str:
    return jwt.encode(claims, KEY.private_pem, algorithm="EdDSA", headers={"kid": KEY.kid} | headers)


def test_a_token_is_read_as_it_was_issued() -> None:
    assert read(TOKEN, KEYS, NOW) == TokenClaims(
        user_id=7, username="ann", roles=("admin", "developer"), epoch=3, expires_at=NOW + timedelta(hours=1)
    )


def test_the_header_names_key_and_algorithm() -> None:
    header = jwt.get_unverified_header(TOKEN)
    assert (header["alg"], header["kid"]) == ("EdDSA", KEY.kid)


def test_two_tokens_of_one_moment_differ() -> None:
    again = issue(KEY, subject=7, username="ann", roles=("admin", "developer"), epoch=3, now=NOW, lifetime=3600)
    assert again != TOKEN


def test_the_clock_is_asked_when_no_time_is_given() -> None:
    assert read(signed(CLAIMS), KEYS).user_id == 7


def test_it_is_valid_to_the_last_moment_before_its_end() -> None:
    assert read(TOKEN, KEYS, NOW + timedelta(seconds=3599.9)).user_id == 7


def test_it_has_expired_at_its_end() -> None:
    with pytest.raises(TokenExpired):
        read(TOKEN, KEYS, NOW + timedelta(hours=1))


def test_a_token_of_a_clock_that_is_ahead_is_read() -> None:
    assert read(TOKEN, KEYS, NOW - timedelta(minutes=5)).user_id == 7


def test_an_older_key_still_reads_what_it_signed() -> None:
    assert read(TOKEN, {OTHER.kid: OTHER.public_pem, KEY.kid: KEY.public_pem}, NOW).user_id == 7


HEAD, BODY, SIGNATURE = TOKEN.split(".")


def headed(header: str) -> str:
    return f"{part(header)}.{BODY}.{SIGNATURE}"


HOSTILE = {
    "empty": "",
    "dots": "..",
    "text": "no token",
    "not ascii": "tökén.ü.ß",
    "lone surrogate": "\ud800.\ud800.\ud800",
    "altered": f"{HEAD}.{part(json.dumps(CLAIMS | {'roles': ['root']}))}.{SIGNATURE}",
    "no signature": f"{HEAD}.{BODY}.",
    "nested header": headed("[" * 100_000),
    "huge number": headed('{"kid": ' + "9" * 10_000 + "}"),
    "list as key id": headed('{"alg": "EdDSA", "kid": [1]}'),
    "no key id": headed('{"alg": "EdDSA"}'),
    "header is a list": headed("[]"),
    "unsigned": jwt.encode(CLAIMS, "", algorithm="none", headers={"kid": KEY.kid}),
    "public key as password": jwt.encode(CLAIMS, "x" * 64, algorithm="HS256", headers={"kid": KEY.kid}),
    "unknown key": issue(OTHER, subject=7, username="ann", roles=(), epoch=3, now=NOW, lifetime=3600),
    "signed by another": issue(
        replace(OTHER, kid=KEY.kid), subject=7, username="ann", roles=(), epoch=3, now=NOW, lifetime=3600
    ),
    "no roles": signed({name: CLAIMS[name] for name in CLAIMS if name != "roles"}),
    "roles not a list": signed(CLAIMS | {"roles": "admin"}),
    "role not a text": signed(CLAIMS | {"roles": [1]}),
    "subject not a number": signed(CLAIMS | {"sub": "ann"}),
    "epoch not a number": signed(CLAIMS | {"epoch": "3"}),
    "end beyond the calendar": signed(CLAIMS | {"exp": 10**30}),
    "claims not an object": f"{HEAD}.{part('[]')}.{SIGNATURE}",
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE.keys())
def test_anything_else_is_invalid(token: str) -> None:
    with pytest.raises(TokenInvalid):
        read(token, KEYS, NOW)


@given(
    st.text() | st.lists(st.text() | st.binary().map(lambda raw: part(repr(raw))), min_size=3, max_size=3).map(".".join)
)
def test_no_text_breaks_the_reader(text: str) -> None:
    with pytest.raises(TokenInvalid):
        read(text, KEYS, NOW)


@given(st.integers(min_value=0, max_value=len(TOKEN) - 2), st.characters())
def test_no_altered_token_is_accepted(place: int, character: str) -> None:
    altered = TOKEN[:place] + character + TOKEN[place + 1 :]
    assume(altered != TOKEN)
    with pytest.raises(TokenInvalid):
        read(altered, KEYS, NOW)


def test_an_unreadable_public_key_is_our_mistake() -> None:
    with pytest.raises(ValueError, match="PEM"):
        read(TOKEN, {KEY.kid: "no key"}, NOW)


def test_the_private_key_is_not_printed() -> None:
    assert "PRIVATE" not in repr(KEY)


def test_opaque_tokens_are_long_and_never_the_same() -> None:
    assert new_token("hr-").startswith("hr-")
    assert len(new_token()) == 43
    assert new_token() != new_token()


def test_a_token_is_kept_as_its_hash() -> None:
    assert token_hash("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    ("a", "b", "equal"), [("a", "a", True), ("a", "b", False), ("a", "aa", False), ("ä", "ä", True)]
)
def test_texts_are_the_same_or_not(a: str, b: str, equal: bool) -> None:
    assert same(a, b) is equal


def test_any_text_of_a_request_can_be_hashed_and_compared() -> None:
    assert not same("\ud800", "a")
    assert len(token_hash("\ud800")) == 64
