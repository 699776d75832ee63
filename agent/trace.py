"""The log of one job: masked, limited, kept whole until the server has confirmed it."""

import asyncio
import os
import re
import tempfile
import zlib
from types import TracebackType
from typing import Self

from libs.masking import MaskedStream

LIMIT = 4 * 1024 * 1024
TRUNCATED = b"\nThe log is longer than %d bytes; the rest is not kept.\n"
NO_ROOM = "\nThe log could not be kept any further on the agent's machine: %s\n"
OMITTED = b"What this section printed is not kept: the log is too long.\n"
MARKER = re.compile(rb"section_(start|end):\d{1,15}:[\w.-]{1,128}\r\x1b\[0K[^\n]{0,16384}\n")
LONGEST_MARKER = 17_000  # with the name of its step
MOST_MARKERS = 2000  # beyond the limit


class Trace:
    """Grows at the end, is read from any offset.

    Output beyond the limit, or beyond what the disk holds, is dropped after a notice; sections are still opened and
    closed there.
    """

    def __init__(self, masked: MaskedStream, limit: int = LIMIT) -> None:
        self._masked = masked
        self._limit = limit
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by __exit__
        self._on_disk: int | None = None  # bytes, once no more go there
        self._rest = b""  # what follows them
        self._checksum = 0
        self._full = False
        self._beyond = b""  # the limit, and perhaps the beginning of a marker
        self._markers = 0
        self.length = 0
        self.grown = asyncio.Event()
        self.closed = asyncio.Event()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, output: bytes) -> None:
        self._append(self._masked.feed(output))

    def line(self, text: str) -> None:
        """In the agent's own words, which the limit does not touch."""
        self._keep(self._masked.feed(text.encode(errors="replace") + b"\n"))

    def close(self) -> None:
        self._append(self._masked.flush())
        self.closed.set()
        self.grown.set()

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.length)
        border = self.length if self._on_disk is None else self._on_disk
        head = os.pread(self._file.fileno(), min(end, border) - offset, offset) if offset < border else b""
        return head + self._rest[max(offset - border, 0) : max(end - border, 0)]

    @property
    def checksum(self) -> str:
        return f"crc32:{self._checksum:08x}"

    def _append(self, content: bytes) -> None:
        room = 0 if self._full else max(self._limit - self.length, 0)
        if len(content) > room:  # a line is cut only where it must be: it may hold a marker
            room = content.rfind(b"\n", 0, room) + 1 or room
        self._keep(content[:room])
        if len(content) <= room:
            return
        if not self._full:
            self._full = True
            self._keep(TRUNCATED % self._limit)
        self._beyond += content[room:]
        end = 0
        for marker in MARKER.finditer(self._beyond):
            end = marker.end()
            if self._markers < MOST_MARKERS:
                self._markers += 1
                self._keep(marker[0] + (OMITTED if marker[1] == b"start" else b""))
        self._beyond = self._beyond[max(end, len(self._beyond) - LONGEST_MARKER) :]

    def _keep(self, content: bytes) -> None:
        if not content:
            return
        content = self._stored(content)
        self._checksum = zlib.crc32(content, self._checksum)
        self.length += len(content)
        self.grown.set()

    def _stored(self, content: bytes) -> bytes:
        """On the disk; what has no room there, and the little that is kept after it, in memory."""
        if self._on_disk is None:
            try:
                place = self.length
                while place < self.length + len(content):
                    place += os.pwrite(self._file.fileno(), content[place - self.length :], place)
            except OSError as error:
                self._on_disk, self._full = self.length, True
                content += (NO_ROOM % error).encode()
            else:
                return content
        self._rest += content
        return content
