"""Takes secrets out of a stream of bytes, also where a secret spans two chunks."""

import base64
import re
from collections.abc import Iterable, Iterator

from libs.masking import spellings

MASK = b"[MASKED]"
SHORTEST_LINE = 4  # a closing brace on a line of its own is no secret


def _forms(value: str) -> Iterator[bytes]:
    """The shapes in which a secret usually reaches a log."""
    yield from spellings(value)
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        for line in lines:
            if len(line) >= SHORTEST_LINE:
                yield from spellings(line)
    for content in (value.encode(), value.encode() + b"\n"):  # printf | base64, echo | base64
        encoded = base64.b64encode(content)
        yield from (encoded, base64.urlsafe_b64encode(content), encoded.rstrip(b"="))
        wrapped = base64.encodebytes(content).split()  # base64 breaks its lines at 76
        yield from (line for line in wrapped if len(line) >= SHORTEST_LINE)


class Masker:
    """Feed it chunks, write what it returns; `flush` gives the rest."""

    def __init__(self, values: Iterable[str]) -> None:
        forms = {form for value in values if value.strip() for form in _forms(value)}
        self._forms = sorted(forms, key=len, reverse=True)
        self._longest = len(self._forms[0]) if self._forms else 0
        # the longest alternative comes first: a secret that contains another one is masked whole
        self._secret = re.compile(b"|".join(map(re.escape, self._forms)))
        self._start = re.compile(b"|".join({re.escape(form[:1]) for form in self._forms}))
        self._held = b""

    def feed(self, chunk: bytes) -> bytes:
        """Mask what is certain, and hold back only a tail that may turn out to begin a secret."""
        if not self._forms:
            return chunk
        return self._mask(self._held + chunk, final=False)

    def flush(self) -> bytes:
        return self._mask(self._held, final=True) if self._held else b""

    def _mask(self, content: bytes, *, final: bool) -> bytes:
        clean, position = [], 0
        while True:
            undecided = len(content) if final else self._tail(content, position)
            found = self._secret.search(content, position)
            if found is None or found.start() >= undecided:
                clean.append(content[position:undecided])
                self._held = content[undecided:]
                return b"".join(clean)
            clean += (content[position : found.start()], MASK)
            position = found.end()

    def _tail(self, content: bytes, position: int) -> int:
        """Where the first unfinished secret may begin."""
        earliest = max(position, len(content) - self._longest + 1)
        for candidate in self._start.finditer(content, earliest):
            tail = content[candidate.start() :]
            if any(len(form) > len(tail) and form.startswith(tail) for form in self._forms):
                return candidate.start()
        return len(content)
