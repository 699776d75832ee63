"""The file of a backup, format 1: two lines of text, a compressed body that may be sealed, and a digest of it all.

The body is a row of blocks: a section begins, its documents as BSON one behind the other, its count and digest; at the
end what sections there were. docs/BACKUP.md tells it byte by byte.
"""

import hashlib
import json
import os
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, Protocol

import zstandard

from infra.backup.encryption import SALT_BYTES, ChunkEncryptor, DecryptionError, decrypt, derive_key

MAGIC = b"headrace-backup"
FORMAT = 1
DIGEST = hashlib.sha256
DIGEST_BYTES = 32
MAX_LINE_BYTES = 65536
CHUNK_BYTES = 1024 * 1024
MAX_BLOCK_BYTES = 64 * 1024 * 1024  # far above the 16 MiB and a document that MongoDB sends at once
ENCRYPTION_SCHEME = "aes-256-gcm"
COMPRESSION_LEVEL = 3

BLOCK_HEADER = struct.Struct(">cI")
DOCUMENT_LENGTH = struct.Struct("<i")
BEGIN, DOCUMENTS, END, CLOSE = b"S", b"D", b"E", b"Z"


class BackupError(Exception):
    """Why this file is no backup that can be used: one sentence for whoever has it in hand."""


class Output(Protocol):
    def write(self, content: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Header:
    """What can be read without the key."""

    backup: str  # an id of its own
    moment: datetime  # of the database: what was acknowledged before is in it
    version: str  # of the Headrace that wrote it
    left_out: Sequence[str] = ()
    compression: str = "zstd"
    sealing: str = ""
    salt: bytes = field(default=b"", repr=False)

    def to_line(self) -> bytes:
        shown = asdict(self) | {"moment": self.moment.isoformat(), "salt": b64encode(self.salt).decode()}
        return json.dumps(shown).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Header":
        shown = json.loads(line)
        moment, salt = datetime.fromisoformat(shown["moment"]), b64decode(shown["salt"])
        return cls(**shown | {"moment": moment, "salt": salt, "left_out": tuple(shown["left_out"])})


@dataclass(slots=True)
class Section:
    service: str
    collection: str
    documents: int = 0
    bytes: int = 0
    sha256: str = ""


class BackupWriter:
    """Writes section after section; nothing is a backup until `close` has returned."""

    def __init__(self, output: Output, header: Header, key: str = "") -> None:
        self._output = output
        self._digest = DIGEST()
        self.written = 0
        if key:
            header = Header(**_header_fields(header) | {"sealing": ENCRYPTION_SCHEME, "salt": os.urandom(SALT_BYTES)})
        self.header = header
        first = b"%s %d\n" % (MAGIC, FORMAT) + header.to_line()
        self._write_raw(first)
        self._encryptor = (
            ChunkEncryptor(derive_key(key, header.salt), DIGEST(first).digest(), self._write_raw) if key else None
        )
        self._compressor = zstandard.ZstdCompressor(COMPRESSION_LEVEL).compressobj()
        self.sections: list[Section] = []
        self._section_digest = DIGEST()

    @property
    def section(self) -> Section:
        return self.sections[-1]

    def begin_section(self, service: str, collection: str) -> None:
        self.sections.append(Section(service, collection))
        self._section_digest = DIGEST()
        self._write_block(BEGIN, _to_json({"service": service, "collection": collection}))

    def write_documents(self, content: bytes) -> int:
        """Whole BSON documents one behind the other; returns how many."""
        section, number = self.section, count_documents(content)
        section.documents += number
        section.bytes += len(content)
        self._section_digest.update(content)
        self._write_block(DOCUMENTS, content)
        return number

    def end_section(self) -> None:
        section = self.section
        section.sha256 = self._section_digest.hexdigest()
        self._write_block(
            END, _to_json({"documents": section.documents, "bytes": section.bytes, "sha256": section.sha256})
        )

    def close(self) -> Sequence[Section]:
        self._write_block(CLOSE, _to_json({"sections": [asdict(one) for one in self.sections]}))
        self._write_body(self._compressor.flush())
        if self._encryptor:
            self._encryptor.close()
        self._write_raw(self._digest.digest())
        return self.sections

    def _write_block(self, kind: bytes, content: bytes) -> None:
        self._write_body(self._compressor.compress(BLOCK_HEADER.pack(kind, len(content))))
        self._write_body(self._compressor.compress(content))

    def _write_body(self, content: bytes) -> None:
        if self._encryptor:
            self._encryptor.write(content)
        else:
            self._write_raw(content)

    def _write_raw(self, content: bytes) -> None:
        self._digest.update(content)
        self._output.write(content)
        self.written += len(content)


class BackupReader:
    """Reads a file that can be read twice. Whatever is not as it was written raises BackupError."""

    def __init__(self, file: BinaryIO, key: str = "") -> None:
        self._file = file
        self._size = file.seek(0, os.SEEK_END)
        self._key = key
        file.seek(0)
        first, second = file.readline(MAX_LINE_BYTES), file.readline(MAX_LINE_BYTES)
        name, _, number = first.partition(b" ")
        if name != MAGIC or not number.strip().isdigit():
            raise BackupError("This file is no backup of Headrace.")
        self.format = int(number)
        if self.format not in READERS:
            raise BackupError(
                f"This backup has the format {self.format}, and this version of Headrace knows the formats up to "
                f"{FORMAT}; restore it with the version that made it, or a newer one."
            )
        try:
            self.header = Header.from_line(second)
        except (ValueError, KeyError, TypeError) as error:
            raise BackupError("The backup's first lines are damaged.") from error
        self._header_lines = first + second
        self.sections: Sequence[Section] = ()

    @property
    def size(self) -> int:
        return self._size

    @property
    def position(self) -> int:
        return self._file.tell()

    def read_documents(self) -> Iterator[tuple[Section, bytes]]:
        """Documents by section; everything was right only when this has come to its end."""
        try:
            yield from READERS[self.format](self)
        except DecryptionError as error:
            raise BackupError(
                f"The backup cannot be opened ({error}): HEADRACE_BACKUP_KEY is not the one it was made with, "
                "or the file was altered."
            ) from error
        except (zstandard.ZstdError, struct.error, ValueError, KeyError, TypeError) as error:
            raise BackupError(f"The backup is damaged ({type(error).__name__}).") from error

    def read_version_1(self) -> Iterator[tuple[Section, bytes]]:
        body = _ByteStream(self._read_body())
        section, digest, found = Section("", ""), DIGEST(), []
        while True:
            kind, length = BLOCK_HEADER.unpack(body.read(BLOCK_HEADER.size))
            if length > MAX_BLOCK_BYTES:
                raise BackupError("The backup is damaged: a block has an impossible length.")
            content = body.read(length)
            match kind:
                case b"S":
                    told = json.loads(content)
                    section, digest = Section(told["service"], told["collection"]), DIGEST()
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
                        raise BackupError(f"The backup is damaged: {section.service}.{section.collection} was altered.")
                    found.append(section)
                case b"Z":
                    if json.loads(content)["sections"] != [asdict(one) for one in found] or not body.at_end():
                        raise BackupError("The backup is damaged: its sections are not the ones that were written.")
                    self.sections = found
                    return
                case _:
                    raise BackupError("The backup is damaged: a block is of no known kind.")

    def _read_body(self) -> Iterator[bytes]:
        """The body, opened and inflated."""
        stored = self._read_stored_body()
        if self.header.sealing:
            if not self._key:
                raise BackupError("The backup is sealed; set HEADRACE_BACKUP_KEY to what it was made with.")
            stored = decrypt(derive_key(self._key, self.header.salt), DIGEST(self._header_lines).digest(), stored)
        inflate = zstandard.ZstdDecompressor().decompressobj()
        for piece in stored:
            if content := inflate.decompress(piece):
                yield content
        if not inflate.eof or inflate.unused_data:
            raise BackupError("The backup is damaged: its body is cut short or has something behind it.")

    def _read_stored_body(self) -> Iterator[bytes]:
        """The body as it lies in the file. What is read is held against the digest at the end."""
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
            raise BackupError("The backup is cut short or was altered: its bytes do not fit its checksum.")


class _ByteStream:
    """Takes so many bytes at a time from pieces of any size."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._chunks = pieces
        self._buffer = bytearray()

    def read(self, length: int) -> bytes:
        while len(self._buffer) < length:
            piece = next(self._chunks, None)
            if piece is None:
                raise BackupError("The backup is damaged: it ends in the middle.")
            self._buffer += piece
        taken = bytes(memoryview(self._buffer)[:length])
        del self._buffer[:length]
        return taken

    def at_end(self) -> bool:
        """Reads on to the digest behind the body."""
        return not self._buffer and next(self._chunks, None) is None


READERS = {1: BackupReader.read_version_1}


def split_documents(content: bytes) -> Iterator[bytes]:
    """BSON documents that stand one behind the other."""
    start = 0
    while start < len(content):
        (length,) = (
            DOCUMENT_LENGTH.unpack_from(content, start) if start + DOCUMENT_LENGTH.size <= len(content) else (0,)
        )
        if length < 5 or start + length > len(content):
            raise BackupError("The backup is damaged: a document has an impossible length.")
        yield content[start : start + length]
        start += length


def count_documents(content: bytes) -> int:
    return sum(1 for _ in split_documents(content))


def _to_json(content: object) -> bytes:
    return json.dumps(content).encode()


def _header_fields(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in Header.__slots__}
