"""Masks secret values in a stream of log bytes without moving a single byte."""

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

SHORTEST = 4  # characters; masking shorter ones would blacken half of every log and tell where they stand
STAR = b"*"
WRAPPED = (76, 64)  # characters in a line of what `base64` and `openssl base64` write


class Mask:
    """Finds each value raw, line by line, escaped, and in base64 wherever it stands in the encoded text.

    Occurrences that overlap are masked together, so that of two secrets that share a piece neither shows.
    """

    def __init__(self, values: Iterable[str]) -> None:
        variants = {variant for value in values if len(value) >= SHORTEST for variant in _variants(value)}
        self._variants = sorted(variants, key=len)

    def apply(self, data: bytes, final: bool) -> tuple[bytes, bytes]:
        """Return masked bytes and a raw rest, which must be given again in front of the next piece.

        The rest may be the beginning of a value; it is shorter than two values, and empty after the final piece.
        """
        found = [span for variant in self._variants for span in _occurrences(variant, data)]
        end = len(data) if final else self._first_beginning(data)
        # a value that reaches into the rest stays whole, or its last bytes would no longer be known as such
        _, end = max(((stop, start) for start, stop in found if start < end < stop), default=(0, end))
        masked = bytearray(data[:end])
        for start, stop in found:
            masked[start : min(stop, end)] = STAR * (min(stop, end) - start)
        return bytes(masked), data[end:]

    def _first_beginning(self, data: bytes) -> int:
        """Where the longest end of the data stands that begins a value but is not all of it."""
        first = len(data)
        for variant in self._variants:
            place = data.find(variant[:1], max(0, len(data) - len(variant) + 1), first)
            while place >= 0 and not variant.startswith(data[place:]):
                place = data.find(variant[:1], place + 1, first)
            if place >= 0:
                first = place
        return first


def spellings(text: str) -> Iterator[bytes]:
    """As it is, and as programs write it down: in an address or a form, in JSON, and what `set -x` shows of it."""
    in_json = (json.dumps(text, ensure_ascii=plain)[1:-1] for plain in (True, False))
    in_address = (quote(text, safe=""), quote(text), quote_plus(text))
    yield from {one.encode() for one in (text, *in_address, *in_json, text.replace("'", r"'\''"))}


def _variants(value: str) -> Iterator[bytes]:
    for text in {value, *(line.strip() for line in value.split("\n"))}:
        if len(text) >= SHORTEST:
            yield from spellings(text)
    for raw in (value.encode(), value.encode() + b"\n"):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            encoded = encode(raw)
            yield from (encoded, encoded.rstrip(b"="))
            rows = (encoded[place : place + width] for width in WRAPPED for place in range(0, len(encoded), width))
            yield from (row for row in rows if len(row) >= SHORTEST)
    # inside a longer encoded text, as `user:password` of basic authentication, a value begins at any of three phases:
    # what the bytes around it change is cut off
    for lead, cut in ((0, 0), (1, 2), (2, 3)):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            bits = (lead + len(value.encode())) * 8
            inside = encode(bytes(lead) + value.encode())[cut : bits // 6]
            if len(inside) >= SHORTEST:
                yield inside


def _occurrences(variant: bytes, data: bytes) -> Iterator[tuple[int, int]]:
    place = data.find(variant)
    while place >= 0:
        yield place, place + len(variant)
        place = data.find(variant, place + 1)
