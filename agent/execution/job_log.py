"""The log of one job: masked, limited, kept whole until the server has confirmed it."""

import asyncio
import os
import re
import tempfile
import zlib
from types import TracebackType
from typing import Self

from libs.security.masking import MaskedStream

MAX_LOG_BYTES = 4 * 1024 * 1024
TRUNCATED_NOTICE = b"\nThe log is longer than %d bytes; the rest is not kept.\n"
DISK_FULL_NOTICE = "\nThe log could not be kept any further on the agent's machine: %s\n"
OMITTED_NOTICE = b"What this section printed is not kept: the log is too long.\n"
SECTION_MARKER = re.compile(rb"section_(start|end):\d{1,15}:[\w.-]{1,128}\r\x1b\[0K[^\n]{0,16384}\n")
MAX_MARKER_BYTES = 17_000  # with the name of its step
MAX_MARKERS_BEYOND_LIMIT = 2000  # beyond the limit


class JobLog:
    """Grows at the end, is read from any offset.

    Output beyond the limit, or beyond what the disk holds, is dropped after a notice; sections are still opened and
    closed there.
    """

    def __init__(self, masked: MaskedStream, limit: int = MAX_LOG_BYTES) -> None:
        self._masked = masked
        self._limit = limit
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by __exit__
        self._disk_length: int | None = None  # bytes, once no more go there
        self._in_memory = b""  # what follows them
        self._checksum = 0
        self._is_truncated = False
        self._dropped_tail = b""  # the limit, and perhaps the beginning of a marker
        self._marker_count = 0
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

    def write_line(self, text: str) -> None:
        """In the agent's own words, which the limit does not touch."""
        self._store(self._masked.feed(text.encode(errors="replace") + b"\n"))

    def close(self) -> None:
        self._append(self._masked.flush())
        self.closed.set()
        self.grown.set()

    def read(self, offset: int, size: int) -> bytes:
        end = min(offset + size, self.length)
        border = self.length if self._disk_length is None else self._disk_length
        head = os.pread(self._file.fileno(), min(end, border) - offset, offset) if offset < border else b""
        return head + self._in_memory[max(offset - border, 0) : max(end - border, 0)]

    @property
    def checksum(self) -> str:
        return f"crc32:{self._checksum:08x}"

    def _append(self, content: bytes) -> None:
        room = 0 if self._is_truncated else max(self._limit - self.length, 0)
        if len(content) > room:  # a line is cut only where it must be: it may hold a marker
            room = content.rfind(b"\n", 0, room) + 1 or room
        self._store(content[:room])
        if len(content) <= room:
            return
        if not self._is_truncated:
            self._is_truncated = True
            self._store(TRUNCATED_NOTICE % self._limit)
        self._dropped_tail += content[room:]
        end = 0
        for marker in SECTION_MARKER.finditer(self._dropped_tail):
            end = marker.end()
            if self._marker_count < MAX_MARKERS_BEYOND_LIMIT:
                self._marker_count += 1
                self._store(marker[0] + (OMITTED_NOTICE if marker[1] == b"start" else b""))
        self._dropped_tail = self._dropped_tail[max(end, len(self._dropped_tail) - MAX_MARKER_BYTES) :]

    def _store(self, content: bytes) -> None:
        if not content:
            return
        content = self._write_to_disk(content)
        self._checksum = zlib.crc32(content, self._checksum)
        self.length += len(content)
        self.grown.set()

    def _write_to_disk(self, content: bytes) -> bytes:
        """On the disk; what has no room there, and the little that is kept after it, in memory."""
        if self._disk_length is None:
            try:
                place = self.length
                while place < self.length + len(content):
                    place += os.pwrite(self._file.fileno(), content[place - self.length :], place)
            except OSError as error:
                self._disk_length, self._is_truncated = self.length, True
                content += (DISK_FULL_NOTICE % error).encode()
            else:
                return content
        self._in_memory += content
        return content
