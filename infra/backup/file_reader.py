"""Reader of backup files, which decrypts and decompresses the body and verifies all digests."""

import json
import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import BinaryIO

import zstandard

from infra.backup.encryption import DecryptionError, decrypt, derive_key
from infra.backup.file_format import (
    BLOCK_HEADER,
    DIGEST,
    DIGEST_BYTES,
    FORMAT,
    MAGIC,
    MAX_BLOCK_BYTES,
    MAX_LINE_BYTES,
    BackupError,
    Header,
    Section,
    count_documents,
)

CHUNK_BYTES = 1024 * 1024


class BackupReader:
    """Reads a seekable backup file and verifies every byte. Raises BackupError if the file is damaged or modified."""

    def __init__(self, file: BinaryIO, key: str = "") -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._key = key
        file.seek(0)
        first, second = file.readline(MAX_LINE_BYTES), file.readline(MAX_LINE_BYTES)
        name, _, number = first.partition(b" ")
        if name != MAGIC or not number.strip().isdigit():
            raise BackupError("This file is not a Headrace backup.")
        self.format = int(number)
        if self.format not in READERS:
            raise BackupError(
                f"This backup has format {self.format}, and this version of Headrace supports formats up to "
                f"{FORMAT}. Restore it with the version that wrote it, or a newer one."
            )
        try:
            self.header = Header.from_line(second)
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError("The header of the backup is damaged.") from error
        self._header_lines = first + second
        self.sections: Sequence[Section] = ()

    @property
    def size(self) -> int:
        return self._size

    @property
    def position(self) -> int:
        return self._file.tell()

    def read_documents(self) -> Iterator[tuple[Section, bytes]]:
        """Yield each block of concatenated BSON documents with its section.

        The documents are verified, and `sections` is set, only when the iterator is exhausted. Raises BackupError.
        """
        try:
            yield from READERS[self.format](self)
        except DecryptionError as error:
            raise BackupError(
                f"The backup cannot be decrypted ({error}): HEADRACE_BACKUP_KEY differs from the key it was written "
                "with, "
                "or the file was modified."
            ) from error
        except (zstandard.ZstdError, struct.error, ValueError, KeyError, TypeError) as error:
            raise BackupError(f"The backup is damaged ({type(error).__name__}).") from error

    def read_version_1(self) -> Iterator[tuple[Section, bytes]]:
        body = _ByteStream(self._read_body())
        section, digest, sections = Section("", ""), DIGEST(), []
        while True:
            kind, length = BLOCK_HEADER.unpack(body.read(BLOCK_HEADER.size))
            if length > MAX_BLOCK_BYTES:
                raise BackupError("The backup is damaged: invalid length of a block.")
            content = body.read(length)
            match kind:
                case b"S":
                    description = json.loads(content)
                    section, digest = Section(description["service"], description["collection"]), DIGEST()
                case b"D":
                    section.documents += count_documents(content)
                    section.bytes += length
                    digest.update(content)
                    yield section, content
                case b"E":
                    section.sha256 = digest.hexdigest()
                    if json.loads(content) != {
                        name: getattr(section, name) for name in ("documents", "bytes", "sha256")
                    }:
                        raise BackupError(
                            f"The backup is damaged: {section.service}.{section.collection} was modified."
                        )
                    sections.append(section)
                case b"Z":
                    if (
                        json.loads(content)["sections"] != [asdict(section) for section in sections]
                        or not body.at_end()
                    ):
                        raise BackupError("The backup is damaged: its list of sections does not match.")
                    self.sections = sections
                    return
                case _:
                    raise BackupError("The backup is damaged: unknown type of a block.")

    def _read_body(self) -> Iterator[bytes]:
        stored = self._read_stored_body()
        if self.header.sealing:
            if not self._key:
                raise BackupError("The backup is encrypted. Set HEADRACE_BACKUP_KEY to the key it was written with.")
            stored = decrypt(derive_key(self._key, self.header.salt), DIGEST(self._header_lines).digest(), stored)
        inflate = zstandard.ZstdDecompressor().decompressobj()
        for piece in stored:
            if content := inflate.decompress(piece):
                yield content
        if not inflate.eof or inflate.unused_data:
            raise BackupError("The backup is damaged: its body is truncated or has additional data.")

    def _read_stored_body(self) -> Iterator[bytes]:
        """Yield the stored body. At the end, compare its digest with the one after the body."""
        self._file.seek(len(self._header_lines))
        digest = DIGEST(self._header_lines)
        left = self._size - len(self._header_lines) - DIGEST_BYTES
        while left > 0:
            piece = self._file.read(min(CHUNK_BYTES, left))
            if not piece:
                break
            left -= len(piece)
            digest.update(piece)
            yield piece
        if left != 0 or self._file.read() != digest.digest():
            raise BackupError("The backup is truncated or was modified: its checksum does not match.")


class _ByteStream:
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._chunks = pieces
        self._buffer = bytearray()

    def read(self, length: int) -> bytes:
        while len(self._buffer) < length:
            piece = next(self._chunks, None)
            if piece is None:
                raise BackupError("The backup is damaged: it is truncated.")
            self._buffer += piece
        taken = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return taken

    def at_end(self) -> bool:
        """Return whether the body has ended. At its end this reads and verifies the digest."""
        return not self._buffer and next(self._chunks, None) is None


READERS = {1: BackupReader.read_version_1}
