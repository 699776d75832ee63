"""Backup files: written, read, and rejected if a byte differs."""

import io
from datetime import UTC, datetime

import bson
import pytest

from infra.backup.encryption import CHUNK_BYTES
from infra.backup.file_format import BackupError, Header
from infra.backup.file_reader import BackupReader
from infra.backup.file_writer import BackupWriter

BACKUP_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HEADER = Header("b1", datetime(2026, 1, 31, 12, tzinfo=UTC), "0.1.0")
SMALL = bson.encode({"_id": "a", "n": 1}) + bson.encode({"_id": "b", "n": 2})
LARGE = bson.encode({"_id": "c", "content": bytes(range(256)) * 2000})


def write_backup(key: str = "", *contents: bytes) -> bytes:
    file = io.BytesIO()
    writer = BackupWriter(file, HEADER, key)
    for content in contents or (SMALL, LARGE):
        writer.begin_section("builds", "commits")
        writer.write_documents(content)
        writer.end_section()
    writer.close()
    return file.getvalue()


def read_backup(stored: bytes, key: str = "") -> list[tuple[str, bytes]]:
    reader = BackupReader(io.BytesIO(stored), key)
    return [(f"{section.service}.{section.collection}", content) for section, content in reader.read_documents()]


@pytest.mark.parametrize("key", ["", BACKUP_KEY, "a passphrase"], ids=["plain", "key", "passphrase"])
def test_a_written_backup_can_be_read(key: str) -> None:
    assert read_backup(write_backup(key), key) == [("builds.commits", SMALL), ("builds.commits", LARGE)]


def test_backup_sections_count_documents_and_bytes() -> None:
    reader = BackupReader(io.BytesIO(write_backup()))
    list(reader.read_documents())
    assert [(section.documents, section.bytes) for section in reader.sections] == [(2, len(SMALL)), (1, len(LARGE))]


def test_the_backup_header_is_readable_without_the_key() -> None:
    stored = write_backup(BACKUP_KEY)
    assert BackupReader(io.BytesIO(stored)).header.moment == HEADER.moment
    assert stored.startswith(b'headrace-backup 1\n{"backup": "b1"')
    assert b"content" not in stored


@pytest.mark.parametrize("key", ["", BACKUP_KEY], ids=["plain", "sealed"])
def test_a_backup_with_any_changed_byte_is_rejected(key: str) -> None:
    stored = write_backup(key)
    for position in range(0, len(stored), max(1, len(stored) // 400)):
        altered = bytearray(stored)
        altered[position] ^= 1
        with pytest.raises(BackupError):
            read_backup(bytes(altered), key)


@pytest.mark.parametrize("key", ["", BACKUP_KEY], ids=["plain", "sealed"])
def test_a_truncated_or_extended_backup_is_rejected(key: str) -> None:
    stored = write_backup(key)
    for length in range(0, len(stored), max(1, len(stored) // 200)):
        with pytest.raises(BackupError):
            read_backup(stored[:length], key)
    with pytest.raises(BackupError):
        read_backup(stored + b"x", key)


def test_an_encrypted_backup_that_ends_with_a_full_chunk_is_read() -> None:
    content = bson.encode({"_id": "a", "content": bytes(CHUNK_BYTES * 3)})
    assert read_backup(write_backup(BACKUP_KEY, content), BACKUP_KEY) == [("builds.commits", content)]


@pytest.mark.parametrize("key", ["another passphrase", BACKUP_KEY.lower()])
def test_a_backup_cannot_be_read_with_another_key(key: str) -> None:
    with pytest.raises(BackupError, match="HEADRACE_BACKUP_KEY differs"):
        read_backup(write_backup("a passphrase"), key)


def test_an_encrypted_backup_without_a_key_gives_advice() -> None:
    with pytest.raises(BackupError, match="Set HEADRACE_BACKUP_KEY"):
        read_backup(write_backup(BACKUP_KEY))


def test_a_backup_of_a_newer_format_is_rejected() -> None:
    with pytest.raises(BackupError, match="has format 2"):
        read_backup(write_backup().replace(b"headrace-backup 1", b"headrace-backup 2", 1))


@pytest.mark.parametrize("stored", [b"", b"hello", b"PK\x03\x04" + bytes(100), b"headrace-backup one\n{}\n"])
def test_a_file_that_is_not_a_backup_is_rejected(stored: bytes) -> None:
    with pytest.raises(BackupError, match="not a Headrace backup"):
        read_backup(stored)
