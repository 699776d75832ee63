"""Backup file, format 1: two lines of text, a compressed and optionally encrypted body, and a digest.

The body is a sequence of blocks. Each section holds one collection: a block that begins the section, blocks of
concatenated BSON documents, and a block with their number and digest. The last block lists the sections.
The digest covers the lines and the body. docs/operating/backup.md specifies every byte.
"""

import hashlib
import json
import struct
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime

MAGIC = b"headrace-backup"
FORMAT = 1
DIGEST = hashlib.sha256
DIGEST_BYTES = 32
MAX_LINE_BYTES = 65536
MAX_BLOCK_BYTES = 64 * 1024 * 1024  # readers reject larger blocks; a batch of a MongoDB cursor has at most 32 MiB
ENCRYPTION_SCHEME = "aes-256-gcm"

BLOCK_HEADER = struct.Struct(">cI")
DOCUMENT_LENGTH = struct.Struct("<i")
BEGIN, DOCUMENTS, END, CLOSE = b"S", b"D", b"E", b"Z"


class BackupError(Exception):
    """The file is not a usable backup. The message says why."""


@dataclass(frozen=True, slots=True)
class Header:
    """The part of the file that is readable without the key."""

    backup: str  # random, unique for each backup
    moment: datetime  # database time; everything acknowledged before that time is included
    version: str  # release of Headrace that wrote the file
    left_out: Sequence[str] = ()
    compression: str = "zstd"
    sealing: str = ""
    salt: bytes = field(default=b"", repr=False)

    def to_line(self) -> bytes:
        fields = asdict(self) | {"moment": self.moment.isoformat(), "salt": b64encode(self.salt).decode()}
        return json.dumps(fields).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> "Header":
        fields = json.loads(line)
        moment, salt = datetime.fromisoformat(fields["moment"]), b64decode(fields["salt"])
        return cls(**fields | {"moment": moment, "salt": salt, "left_out": tuple(fields["left_out"])})


@dataclass(slots=True)
class Section:
    """A collection of a service, with the count, size and digest of its documents."""

    service: str
    collection: str
    documents: int = 0
    bytes: int = 0
    sha256: str = ""


def split_documents(content: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(content):
        (length,) = (
            DOCUMENT_LENGTH.unpack_from(content, start) if start + DOCUMENT_LENGTH.size <= len(content) else (0,)
        )
        if length < 5 or start + length > len(content):
            raise BackupError("The backup is damaged: invalid length of a document.")
        yield content[start : start + length]
        start += length


def count_documents(content: bytes) -> int:
    return sum(1 for _ in split_documents(content))
