"""Masking of secrets in log chunks without changing the length of the log."""

import base64
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.section_markers import find_nonces
from libs.security.masking import SecretMasker, is_maskable, iter_variants

SECRET = "s3cr3t/pass?wörd"
KEY = "-----BEGIN KEY-----\nMIIEvQIBADANBg\n  kqhkiG9w0BAQ\nab\n-----END KEY-----\n"

# a small alphabet, so that values overlap and chunks end inside values
values = st.lists(st.text("ab\n", min_size=4, max_size=9).filter(is_maskable), min_size=1, max_size=3)
logs = st.text("ab\n", max_size=60)


def mask_whole(mask: SecretMasker, log: bytes) -> bytes:
    masked, rest = mask.apply(log, final=True)
    assert rest == b""
    return masked


def mask_in_pieces(mask: SecretMasker, pieces: list[bytes]) -> bytes:
    masked, rest = b"", b""
    for piece in pieces:
        more, rest = mask.apply(rest + piece, final=False)
        masked += more
    return masked + mask_whole(mask, rest)


def test_a_masked_value_becomes_stars_of_the_same_length() -> None:
    log = f"before {SECRET} after {SECRET}\n".encode()
    stars = "*" * len(SECRET.encode())
    assert mask_whole(SecretMasker([SECRET]), log) == f"before {stars} after {stars}\n".encode()


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["standard", "urlsafe"])
@pytest.mark.parametrize("secret", ["four", "five5", "sixsix", "~~~???>>>", SECRET])
@pytest.mark.parametrize("end", ["", "\n"])
def test_base64_of_a_value_is_masked_with_and_without_padding(encode, secret: str, end: str) -> None:  # type: ignore[no-untyped-def]
    encoded = encode((secret + end).encode())
    bare = encoded.rstrip(b"=")
    assert mask_whole(SecretMasker([secret]), b"> %b <" % encoded) == b"> %b <" % (b"*" * len(encoded))
    assert mask_whole(SecretMasker([secret]), b"> %b <" % bare) == b"> %b <" % (b"*" * len(bare))


@pytest.mark.parametrize(
    "written",
    [
        "it%27s+a%2F%2250%25%22+%C3%B6",
        "it%27s%20a/%2250%25%22%20%C3%B6",
        "it%27s%20a%2F%2250%25%22%20%C3%B6",
        r"it's a/\"50%\" ö",
        r"it's a/\"50%\" \u00f6",
        r"""it'\''s a/"50%" ö""",
    ],
    ids=["form", "path", "query", "JSON", "JSON in ASCII", "shell"],
)
def test_a_value_is_masked_in_url_json_and_shell_encodings(written: str) -> None:
    log = f"> {written} <".encode()
    assert mask_whole(SecretMasker(['it\'s a/"50%" ö']), log) == b"> %b <" % (b"*" * (len(log) - 4))


@pytest.mark.parametrize("width", [64, 76])
def test_base64_of_a_long_value_is_masked_line_by_line(width: int) -> None:
    encoded = base64.b64encode(KEY.encode())
    log = b"".join(b"%b\n" % encoded[position : position + width] for position in range(0, len(encoded), width))
    assert mask_whole(SecretMasker([KEY]), log).strip(b"*\n") == b""


@pytest.mark.parametrize("user", ["a:", "ab:", "abc:", "abcd:"])
def test_a_value_is_masked_inside_a_longer_base64(user: str) -> None:
    encoded = base64.b64encode(f"{user}{SECRET}@host".encode())
    masked = mask_whole(SecretMasker([SECRET]), encoded)
    assert masked.count(b"*") >= len(SECRET.encode()) * 8 // 6 - 1
    assert len(masked) == len(encoded)


def test_each_line_of_a_value_is_masked_separately() -> None:
    log = b"1 -----END KEY-----\r\n2 MIIEvQIBADANBg\n3     kqhkiG9w0BAQ\n4 ab\n"
    assert (
        mask_whole(SecretMasker([KEY]), log) == b"1 *****************\r\n2 **************\n3     ************\n4 ab\n"
    )
    encoded = base64.b64encode(b"MIIEvQIBADANBg")
    assert mask_whole(SecretMasker([KEY]), encoded) == b"*" * len(encoded)


def test_a_short_line_of_a_value_is_not_masked_separately() -> None:
    log = b"line by line: multi\nline\nvalue, values"
    assert mask_whole(SecretMasker(["multi\nline\nvalue"]), log) == b"line by line: ****************, values"


WORD = "0123456789ab"
MARKERS = f"section_start:1700000000123:hr_{WORD}_0\r\x1b[0K|\x1b[0Ksection_end:1700:hr_{WORD}_0.timeout\r\x1b[0K"
PARTS = ["section", "hr_0", "1700", "\x1b[0K", "end:", "timeout\r", "0123", "_start:17"]


@given(st.lists(st.sampled_from(PARTS), min_size=1, max_size=3), st.lists(st.integers(0, 130), max_size=8))
def test_section_markers_of_the_attempt_are_never_masked(values: list[str], cuts: list[int]) -> None:
    mask, raw = SecretMasker(values, [WORD]), f"<{MARKERS}>{''.join(values)}\n".encode()
    masked = mask_whole(mask, raw)
    assert masked.startswith(f"<{MARKERS}>*".encode())
    assert mask_in_pieces(mask, [raw[start:stop] for start, stop in pairwise([0, *sorted(cuts), len(raw)])]) == masked


def test_text_that_only_resembles_a_section_marker_is_masked() -> None:
    other = b"section_start:1:hr_ba9876543210_0\r\x1b[0K section_start:1:hr_0123456789ab_0\r\n"
    assert mask_whole(SecretMasker(["section", "hr_"], [WORD]), other) == other.replace(b"section", b"*******")


def test_the_marker_nonces_are_found_in_a_script() -> None:
    assert find_nonces(f"printf 'section_start:%s:hr_{WORD}_0'; hr_{WORD}_1 hr_short_1 xhr_{WORD}_0") == {WORD}


def test_a_blank_value_is_not_masked() -> None:
    assert mask_whole(SecretMasker(["    "]), b"a     b") == b"a     b"


def test_a_value_of_less_than_four_characters_is_not_masked() -> None:
    assert mask_whole(SecretMasker(["abc", ""]), b"abc YWJj") == b"abc YWJj"


def test_without_values_the_log_passes_unchanged() -> None:
    assert SecretMasker([]).apply(b"text", final=False) == (b"text", b"")


def test_the_longer_of_two_overlapping_values_is_masked_completely() -> None:
    assert mask_whole(SecretMasker(["pass", "password"]), b"password pass") == b"******** ****"


def test_overlapping_values_are_both_masked() -> None:
    assert mask_whole(SecretMasker(["abcdef", "efghij"]), b"<abcdefghij>") == b"<**********>"


def test_only_the_possible_start_of_a_value_is_held_back() -> None:
    mask = SecretMasker(["password"])
    assert mask.apply(b"the pass", final=False) == (b"the ", b"pass")
    assert mask.apply(b"pass" + b"age", final=False) == (b"passage", b"")
    assert mask.apply(b"pass" + b"word", final=False) == (b"********", b"")


def test_at_the_end_a_partial_value_is_released() -> None:
    assert SecretMasker(["password"]).apply(b"pass", final=True) == (b"pass", b"")


def test_a_value_that_overlaps_the_held_back_text_is_masked() -> None:
    assert mask_in_pieces(SecretMasker(["xxab", "abcd"]), [b"xxab", b"zz"]) == b"****zz"


@given(values, logs, st.lists(st.integers(0, 60), max_size=8))
def test_masking_does_not_depend_on_how_the_log_is_split(secrets: list[str], log: str, cuts: list[int]) -> None:
    mask, raw = SecretMasker(secrets), log.encode()
    pieces = [raw[start:stop] for start, stop in pairwise([0, *sorted(cuts), 60])]
    assert mask_in_pieces(mask, pieces) == mask_whole(mask, raw)


@given(values, logs)
def test_every_variant_is_masked_and_other_text_is_unchanged(secrets: list[str], log: str) -> None:
    mask, raw = SecretMasker(secrets), log.encode()
    masked = mask_whole(mask, raw)
    variants = {variant for secret in secrets for variant in iter_variants(secret)}
    hidden = {
        position + offset
        for variant in variants
        for position in range(len(raw))
        if raw.startswith(variant, position)
        for offset in range(len(variant))
    }
    assert not any(variant in masked for variant in variants)
    assert masked == bytes(ord("*") if position in hidden else byte for position, byte in enumerate(raw))


@given(values, logs)
def test_less_than_two_values_are_held_back(secrets: list[str], log: str) -> None:
    mask = SecretMasker(secrets)
    masked, rest = mask.apply(log.encode(), final=False)
    assert len(masked) + len(rest) == len(log.encode())
    assert len(rest) < 2 * max(len(variant) for secret in secrets for variant in iter_variants(secret))
