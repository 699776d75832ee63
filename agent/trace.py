"""The log of one job: masked, limited, kept whole until the server has confirmed it."""

import asyncio
import os
import tempfile
import zlib
from types import TracebackType
from typing import Self

from agent.masking import Masker

LIMIT = 4 * 1024 * 1024
TRUNCATED = b"\nThe log is longer than %d bytes; the rest is not kept.\n"


class Trace:
    """Grows at the end, is read from any offset. Output beyond the limit is dropped after a notice."""

    def __init__(self, masker: Masker, limit: int = LIMIT) -> None:
        self._masker = masker
        self._limit = limit
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by __exit__
        self._checksum = 0
        self._full = False
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
        self._append(self._masker.feed(output))

    def line(self, text: str) -> None:
        self.write(text.encode(errors="replace") + b"\n")

    def close(self) -> None:
        self._append(self._masker.flush())
        self.closed.set()
        self.grown.set()

    def read(self, offset: int, size: int) -> bytes:
        return os.pread(self._file.fileno(), min(size, self.length - offset), offset)

    @property
    def checksum(self) -> str:
        return f"crc32:{self._checksum:08x}"

    def _append(self, content: bytes) -> None:
        if self._full or not content:
            return
        if self.length + len(content) > self._limit:
            content = content[: self._limit - self.length] + TRUNCATED % self._limit
            self._full = True
        self._file.write(content)
        self._file.flush()  # read() goes past the buffer
        self._checksum = zlib.crc32(content, self._checksum)
        self.length += len(content)
        self.grown.set()
