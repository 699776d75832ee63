"""Masking of secret values in log data, used by both agent and server."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from libs.section_markers import compile_marker_pattern, incomplete_marker_length

MIN_VALUE_LENGTH = 4  # characters; shorter values occur too often by chance, and masking would reveal them
MIN_LINE_LENGTH = 8  # characters; shorter lines of a value are often plain words
MASK_BYTE = b"*"
MASKED_TEXT = b"[MASKED]"
BASE64_LINE_WIDTHS = (76, 64)  # characters per line of `base64` and `openssl base64`
MASKED_RUN = re.compile(rb"\x01+")


class SecretMasker:
    """Masks values as they are, per line, escaped, and in base64 at any position of an encoded text.

    Overlapping occurrences are masked together, so that neither of two secrets with a common part is visible. Section
    markers with one of the nonces are never masked.
    """

    def __init__(self, values: Iterable[str], nonces: Iterable[str] = ()) -> None:
        variants = {variant for value in values if is_maskable(value) for variant in iter_variants(value)}
        self._variants = sorted(variants, key=len)
        self._markers = compile_marker_pattern(nonces) if variants else None

    def apply(self, data: bytes, final: bool) -> tuple[bytes, bytes]:
        """Return the data with masked bytes replaced by asterisks, and the unmasked rest to prepend to the next chunk.

        The rest may be the start of a value or a marker. It is empty for the final chunk.
        """
        hidden, end = self.find_masked(data, final)
        masked = bytearray(data[:end])
        for run in MASKED_RUN.finditer(hidden):
            masked[run.start() : run.end()] = MASK_BYTE * (run.end() - run.start())
        return bytes(masked), data[end:]

    def find_masked(self, data: bytes, final: bool) -> tuple[bytes, int]:
        """Return a mask with 1 for each byte to hide and 0 otherwise, and the offset of the undecided rest."""
        if not self._variants:
            return bytes(len(data)), len(data)
        found = [span for variant in self._variants for span in _find_occurrences(variant, data)]
        markers = [marker.span() for marker in self._markers.finditer(data)] if self._markers else []
        end = len(data) if final else self._find_incomplete(data)
        # a value that reaches into the rest becomes a part of the rest, or its last bytes would not be recognized
        _, end = max(((stop, start) for start, stop in found if start < end < stop), default=(0, end))
        end = next((start for start, stop in markers if start < end < stop), end)
        hidden = bytearray(end)
        for start, stop in found:
            hidden[start : min(stop, end)] = b"\x01" * (min(stop, end) - start)
        for start, stop in markers:
            hidden[start : min(stop, end)] = bytes(max(min(stop, end) - start, 0))
        return bytes(hidden[:end]), end

    def _find_incomplete(self, data: bytes) -> int:
        """Return the offset of the longest suffix that is an incomplete value or marker."""
        first = len(data) - incomplete_marker_length(data) if self._markers else len(data)
        for variant in self._variants:
            offset = data.find(variant[:1], max(0, len(data) - len(variant) + 1), first)
            while offset >= 0 and not variant.startswith(data[offset:]):
                offset = data.find(variant[:1], offset + 1, first)
            if offset >= 0:
                first = offset
        return first


class MaskedStream:
    """A stream that replaces each run of masked bytes with `[MASKED]`. Feed it chunks and flush it at the end."""

    def __init__(self, masker: SecretMasker) -> None:
        self._masker = masker
        self._buffer = b""
        self._ends_masked = False  # the last returned byte was masked

    def feed(self, chunk: bytes) -> bytes:
        return self._process(self._buffer + chunk, final=False)

    def flush(self) -> bytes:
        return self._process(self._buffer, final=True)

    def _process(self, data: bytes, *, final: bool) -> bytes:
        hidden, end = self._masker.find_masked(data, final)
        self._buffer = data[end:]
        result, offset = [], 0
        for run in MASKED_RUN.finditer(hidden):
            continues_run = run.start() == 0 and self._ends_masked
            result += [data[offset : run.start()], b"" if continues_run else MASKED_TEXT]
            offset = run.end()
        if end:
            self._ends_masked = hidden[-1:] == b"\x01"
        return b"".join([*result, data[offset:end]])


def is_maskable(value: str) -> bool:
    """Return whether a value is masked: it has at least four characters and is not blank."""
    return len(value) >= MIN_VALUE_LENGTH and not value.isspace()


def iter_variants(value: str) -> Iterator[bytes]:
    yield from _text_encodings(value)
    for line in {line.strip() for line in value.split("\n")} - {value}:
        if len(line) >= MIN_LINE_LENGTH:
            yield from _text_encodings(line)
            yield from _base64_encodings(line)
    for encoded in set(_base64_encodings(value)):
        yield encoded
        rows = (
            encoded[offset : offset + width] for width in BASE64_LINE_WIDTHS for offset in range(0, len(encoded), width)
        )
        yield from (row for row in rows if len(row) >= MIN_LINE_LENGTH)
    # within a longer encoded text, such as `user:password` of basic authentication, a value starts at one of three
    # offsets; the characters that the adjacent bytes influence are cut off
    for lead, cut in ((0, 0), (1, 2), (2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            bits = (lead + len(value.encode())) * 8
            inside = encode(bytes(lead) + value.encode())[cut : bits // 6]
            if len(inside) >= MIN_VALUE_LENGTH:
                yield inside


def _text_encodings(text: str) -> Iterator[bytes]:
    """Yield the text as it is, URL-encoded, form-encoded, JSON-escaped, and quoted as by the shell's `set -x`."""
    in_json = (json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (True, False))
    in_url = (quote(text, safe=""), quote(text), quote_plus(text))
    yield from {form.encode() for form in (text, *in_url, *in_json, text.replace("'", r"'\''"))}


def _base64_encodings(text: str) -> Iterator[bytes]:
    """Yield base64 forms: standard and URL-safe, with and without a trailing newline in the text and padding."""
    for raw in (text.encode(), text.encode() + b"\n"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(raw)
            yield from (encoded, encoded.rstrip(b"="))


def _find_occurrences(variant: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    offset = data.find(variant)
    while offset >= 0:
        yield offset, offset + len(variant)
        offset = data.find(variant, offset + 1)
