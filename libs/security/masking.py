"""Masks secret values in a stream of log bytes. Agent and server use this one implementation."""

import base64
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

from libs.section_markers import compile_marker_pattern, incomplete_marker_length

MIN_VALUE_LENGTH = (
    4  # characters of a value; masking shorter ones would hide half of every log and tell where they stand
)
MIN_LINE_LENGTH = 8  # characters of a line of a value; shorter ones are often plain words
MASK_BYTE = b"*"
MASKED_TEXT = b"[MASKED]"
BASE64_LINE_WIDTHS = (76, 64)  # characters in a line of what `base64` and `openssl base64` write
MASKED_RUN = re.compile(rb"\x01+")


class SecretMasker:
    """Finds each value raw, line by line, escaped, and in base64 wherever it stands in the encoded text.

    Occurrences that overlap are masked together, so that of two secrets that share a piece neither shows. The section
    markers with one of the words are never masked, whatever the values are.
    """

    def __init__(self, values: Iterable[str], nonces: Iterable[str] = ()) -> None:
        variants = {variant for value in values if is_maskable(value) for variant in _iter_variants(value)}
        self._variants = sorted(variants, key=len)
        self._markers = compile_marker_pattern(nonces) if variants else None

    def apply(self, data: bytes, final: bool) -> tuple[bytes, bytes]:
        """Return the data with a star for each masked byte, and a raw rest to be given again before the next piece.

        The rest may be the beginning of a value or of a marker; it is empty after the final piece.
        """
        hidden, end = self.find_masked(data, final)
        masked = bytearray(data[:end])
        for run in MASKED_RUN.finditer(hidden):
            masked[run.start() : run.end()] = MASK_BYTE * (run.end() - run.start())
        return bytes(masked), data[end:]

    def find_masked(self, data: bytes, final: bool) -> tuple[bytes, int]:
        """Return a 1 for each byte to mask and a 0 for each other one, up to where the rest begins; and that place."""
        if not self._variants:
            return bytes(len(data)), len(data)
        found = [span for variant in self._variants for span in _find_occurrences(variant, data)]
        markers = [marker.span() for marker in self._markers.finditer(data)] if self._markers else []
        end = len(data) if final else self._find_incomplete(data)
        # a value that reaches into the rest stays whole, or its last bytes would no longer be known as such
        _, end = max(((stop, start) for start, stop in found if start < end < stop), default=(0, end))
        end = next((start for start, stop in markers if start < end < stop), end)
        hidden = bytearray(end)
        for start, stop in found:
            hidden[start : min(stop, end)] = b"\x01" * (min(stop, end) - start)
        for start, stop in markers:
            hidden[start : min(stop, end)] = bytes(max(min(stop, end) - start, 0))
        return bytes(hidden[:end]), end

    def _find_incomplete(self, data: bytes) -> int:
        """Return where the longest end of the data stands that begins a value, or a marker, but is not all of it."""
        first = len(data) - incomplete_marker_length(data) if self._markers else len(data)
        for variant in self._variants:
            place = data.find(variant[:1], max(0, len(data) - len(variant) + 1), first)
            while place >= 0 and not variant.startswith(data[place:]):
                place = data.find(variant[:1], place + 1, first)
            if place >= 0:
                first = place
        return first


class MaskedStream:
    """A stream in which `[MASKED]` stands for each run of masked bytes: feed it pieces, and flush it at the end."""

    def __init__(self, masker: SecretMasker) -> None:
        self._masker = masker
        self._buffer = b""
        self._ends_masked = False  # the last byte that was returned is masked

    def feed(self, piece: bytes) -> bytes:
        return self._process(self._buffer + piece, final=False)

    def flush(self) -> bytes:
        return self._process(self._buffer, final=True)

    def _process(self, data: bytes, *, final: bool) -> bytes:
        hidden, end = self._masker.find_masked(data, final)
        self._buffer = data[end:]
        result, place = [], 0
        for run in MASKED_RUN.finditer(hidden):
            goes_on = run.start() == 0 and self._ends_masked
            result += [data[place : run.start()], b"" if goes_on else MASKED_TEXT]
            place = run.end()
        if end:
            self._ends_masked = hidden[-1:] == b"\x01"
        return b"".join([*result, data[place:end]])


def is_maskable(value: str) -> bool:
    """Tell whether a value is hidden in logs: it has four characters or more, and not only blanks."""
    return len(value) >= MIN_VALUE_LENGTH and not value.isspace()


def _iter_variants(value: str) -> Iterator[bytes]:
    yield from _text_encodings(value)
    for line in {line.strip() for line in value.split("\n")} - {value}:
        if len(line) >= MIN_LINE_LENGTH:
            yield from _text_encodings(line)
            yield from _base64_encodings(line)
    for encoded in set(_base64_encodings(value)):
        yield encoded
        rows = (
            encoded[place : place + width] for width in BASE64_LINE_WIDTHS for place in range(0, len(encoded), width)
        )
        yield from (row for row in rows if len(row) >= MIN_LINE_LENGTH)
    # inside a longer encoded text, as `user:password` of basic authentication, a value begins at any of three phases:
    # what the bytes around it change is cut off
    for lead, cut in ((0, 0), (1, 2), (2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            bits = (lead + len(value.encode())) * 8
            inside = encode(bytes(lead) + value.encode())[cut : bits // 6]
            if len(inside) >= MIN_VALUE_LENGTH:
                yield inside


def _text_encodings(text: str) -> Iterator[bytes]:
    """As it is, and as programs write it down: in an address or a form, in JSON, and what `set -x` shows of it."""
    in_json = (json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (True, False))
    in_address = (quote(text, safe=""), quote(text), quote_plus(text))
    yield from {one.encode() for one in (text, *in_address, *in_json, text.replace("'", r"'\''"))}


def _base64_encodings(text: str) -> Iterator[bytes]:
    """In base64, with and without a line end in it (as of printf and echo), and with and without the padding."""
    for raw in (text.encode(), text.encode() + b"\n"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(raw)
            yield from (encoded, encoded.rstrip(b"="))


def _find_occurrences(variant: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    place = data.find(variant)
    while place >= 0:
        yield place, place + len(variant)
        place = data.find(variant, place + 1)
