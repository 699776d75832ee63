"""Writer of backup files, which computes the digests and compresses and encrypts the body."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Protocol

import zstandard

from infra.backup.encryption import SALT_BYTES, ChunkEncryptor, derive_key
from infra.backup.file_format import (
    BEGIN,
    BLOCK_HEADER,
    CLOSE,
    DIGEST,
    DOCUMENTS,
    ENCRYPTION_SCHEME,
    END,
    FORMAT,
    MAGIC,
    Header,
    Section,
    count_documents,
)

COMPRESSION_LEVEL = 3


class Output(Protocol):
    def write(self, content: bytes, /) -> object: ...


class BackupWriter:
    """Writes a backup file section by section. The file is complete when `close` has returned."""

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
        """Write concatenated BSON documents and return their number."""
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
        self._write_block(CLOSE, _to_json({"sections": [asdict(section) for section in self.sections]}))
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


def _to_json(content: object) -> bytes:
    return json.dumps(content).encode()


def _header_fields(header: Header) -> dict[str, Any]:
    return {name: getattr(header, name) for name in Header.__slots__}
