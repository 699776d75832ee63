"""Masking of secrets in a stream of chunks."""

import base64
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.security.masking import MaskedStream, SecretMasker

SECRETS = ["abab", "ababc", "cabab", "ba\nabba\ncc"]
texts = st.text(alphabet="abc\n", max_size=60)
cuts = st.lists(st.integers(min_value=0, max_value=60), max_size=8)


def mask(secrets: list[str], *chunks: bytes) -> bytes:
    stream = MaskedStream(SecretMasker(secrets))
    return b"".join([*map(stream.feed, chunks), stream.flush()])


@given(text=texts, positions=cuts)
def test_a_masked_stream_does_not_depend_on_how_it_is_split(text: str, positions: list[int]) -> None:
    content, borders = text.encode(), [0, *sorted(positions), 60]
    chunks = [content[start:end] for start, end in itertools.pairwise(borders)]
    assert mask(SECRETS, *chunks) == mask(SECRETS, content)


@given(text=texts)
def test_a_masked_stream_contains_no_secret(text: str) -> None:
    masked_text = mask(SECRETS, text.encode()).decode()
    assert [secret for secret in SECRETS if secret in masked_text] == []


@given(text=texts)
def test_a_stream_without_secrets_is_unchanged(text: str) -> None:
    chunks = [bytes([byte]) for byte in text.encode()]
    assert mask(["zzz"], *chunks) == text.encode()


def test_the_longest_secret_is_masked_first() -> None:
    assert mask(["pass", "password"], b"my password, my pass") == b"my [MASKED], my [MASKED]"


def test_a_secret_at_a_chunk_boundary_waits_for_a_longer_match() -> None:
    assert mask(["pass", "password"], b"pass", b"port pass", b"word") == b"[MASKED]port [MASKED]"


@pytest.mark.parametrize("leak", ["s3cret-värde", "s3cret-värde\n"])
def test_base64_is_masked_with_and_without_a_line_end(leak: str) -> None:
    assert mask(["s3cret-värde"], b"x " + base64.b64encode(leak.encode()) + b" y") == b"x [MASKED] y"


@pytest.mark.parametrize("leak", ["a%26b%2Fc%22", "a%26b/c%22", r"a&b/c\""])
def test_url_and_json_escaped_secrets_are_masked(leak: str) -> None:
    assert mask(['a&b/c"'], f"x {leak} y".encode()) == b"x [MASKED] y"


def test_wrapped_base64_of_a_long_secret_is_masked() -> None:
    secret = "0123456789" * 20
    assert mask([secret], base64.encodebytes(secret.encode())) == b"[MASKED]\n" * 4


def test_every_line_of_a_long_secret_is_masked_and_a_closing_brace_is_not() -> None:
    assert mask(["{\n  key: value\n}"], b"key: value; { }") == b"[MASKED]; { }"


def test_only_the_possible_start_of_a_secret_is_held_back() -> None:
    stream = MaskedStream(SecretMasker(["secret"]))
    assert stream.feed(b"a long line se") == b"a long line "
    assert stream.feed(b"t") == b"set"


def test_blank_and_short_values_mask_nothing() -> None:
    assert mask(["", "  ", "    ", "1", "abc"], b"a    b 1 abc") == b"a    b 1 abc"


def test_adjacent_masked_bytes_are_replaced_once() -> None:
    assert mask(["aaaa"], *[b"a"] * 9, b" b") == b"[MASKED] b"
    assert mask(["abcdef", "efghij"], b"<abcdefgh", b"ij>") == b"<[MASKED]>"
