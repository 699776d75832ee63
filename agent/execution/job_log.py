"""The log of one job: masked, limited in size, and kept on disk until the server has all of it."""

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
DISK_FULL_NOTICE = "\nThe agent could not write the rest of the log to its disk: %s\n"
OMITTED_NOTICE = b"The output of this section is not kept: the log is too long.\n"
SECTION_MARKER = re.compile(rb"section_(start|end):\d{1,15}:[\w.-]{1,128}\r\x1b\[0K[^\n]{0,16384}\n")
MAX_MARKER_BYTES = 17_000  # length of the longest section marker, including the section's title
MAX_MARKERS_BEYOND_LIMIT = 2000


class JobLog:
    """An append-only log that can be read from any offset.

    Output beyond the limit, or after the disk is full, is replaced with a notice. Up to MAX_MARKERS_BEYOND_LIMIT
    section markers are still stored.
    """

    def __init__(self, masked: MaskedStream, limit: int = MAX_LOG_BYTES) -> None:
        self._masked = masked
        self._limit = limit
        self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - closed by __exit__
        self._disk_length: int | None = None  # bytes on disk when the disk became full; None: it is not full
        self._in_memory = b""  # the rest of the log after the disk became full
        self._checksum = 0
        self._is_truncated = False
        self._dropped_tail = b""  # end of the dropped output, which may contain the beginning of a marker
        self._marker_count = 0
        self.length = 0
        self.grown = asyncio.Event()  # set when content is added or the log is closed; cleared by the reader
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
        """Append a message of the agent, to which the limit of the log does not apply."""
        self._store(self._masked.feed(text.encode(errors="replace") + b"\n"))

    def close(self) -> None:
        """Append the output that the masker still holds back. Nothing may be written afterwards."""
        self._append(self._masked.flush())
        self.closed.set()
        self.grown.set()

    def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes of the log, starting at byte `offset`."""
        end = min(offset + size, self.length)
        boundary = self.length if self._disk_length is None else self._disk_length
        head = os.pread(self._file.fileno(), min(end, boundary) - offset, offset) if offset < boundary else b""
        return head + self._in_memory[max(offset - boundary, 0) : max(end - boundary, 0)]

    @property
    def checksum(self) -> str:
        """The CRC-32 of the log in GitLab's format, such as `crc32:cbf43926`."""
        return f"crc32:{self._checksum:08x}"

    def _append(self, content: bytes) -> None:
        capacity = 0 if self._is_truncated else max(self._limit - self.length, 0)
        if len(content) > capacity:  # cut at the end of a line if possible, because a section marker must not be cut
            capacity = content.rfind(b"\n", 0, capacity) + 1 or capacity
        self._store(content[:capacity])
        if len(content) <= capacity:
            return
        if not self._is_truncated:
            self._is_truncated = True
            self._store(TRUNCATED_NOTICE % self._limit)
        self._dropped_tail += content[capacity:]
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
        """Store the content on disk or, once the disk is full, in memory. Return it with any added notice."""
        if self._disk_length is None:
            try:
                offset = self.length
                while offset < self.length + len(content):
                    offset += os.pwrite(self._file.fileno(), content[offset - self.length :], offset)
            except OSError as error:
                self._disk_length, self._is_truncated = self.length, True
                content += (DISK_FULL_NOTICE % error).encode()
            else:
                return content
        self._in_memory += content
        return content
