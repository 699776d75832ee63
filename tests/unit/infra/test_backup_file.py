import io
from datetime import UTC, datetime

import bson
import pytest

from infra.backup.container import BackupError, Header, Reader, Writer
from infra.backup.sealing import CHUNK

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
HEADER = Header("b1", datetime(2026, 1, 31, 12, tzinfo=UTC), "0.1.0")
SMALL = bson.encode({"_id": "a", "n": 1}) + bson.encode({"_id": "b", "n": 2})
LARGE = bson.encode({"_id": "c", "content": bytes(range(256)) * 2000})


def written(key: str = "", *contents: bytes) -> bytes:
    file = io.BytesIO()
    writer = Writer(file, HEADER, key)
    for content in contents or (SMALL, LARGE):
        writer.begin("builds", "commits")
        writer.documents(content)
        writer.end()
    writer.close()
    return file.getvalue()


def read(stored: bytes, key: str = "") -> list[tuple[str, bytes]]:
    reader = Reader(io.BytesIO(stored), key)
    return [(f"{section.service}.{section.collection}", content) for section, content in reader.blocks()]


@pytest.mark.parametrize("key", ["", KEY, "a passphrase"], ids=["plain", "key", "passphrase"])
def test_what_was_written_is_read(key: str) -> None:
    assert read(written(key), key) == [("builds.commits", SMALL), ("builds.commits", LARGE)]


def test_the_sections_say_what_was_in_them() -> None:
    reader = Reader(io.BytesIO(written()))
    list(reader.blocks())
    assert [(one.documents, one.bytes) for one in reader.sections] == [(2, len(SMALL)), (1, len(LARGE))]


def test_the_first_lines_can_be_read_without_the_key_and_tell_no_secret() -> None:
    stored = written(KEY)
    assert Reader(io.BytesIO(stored)).header.moment == HEADER.moment
    assert stored.startswith(b'headrace-backup 1\n{"backup": "b1"')
    assert b"content" not in stored


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "sealed"])
def test_a_change_of_any_byte_is_noticed(key: str) -> None:
    stored = written(key)
    for place in range(0, len(stored), max(1, len(stored) // 400)):
        altered = bytearray(stored)
        altered[place] ^= 1
        with pytest.raises(BackupError):
            read(bytes(altered), key)


@pytest.mark.parametrize("key", ["", KEY], ids=["plain", "sealed"])
def test_a_file_that_was_cut_short_or_goes_on_is_noticed(key: str) -> None:
    stored = written(key)
    for length in range(0, len(stored), max(1, len(stored) // 200)):
        with pytest.raises(BackupError):
            read(stored[:length], key)
    with pytest.raises(BackupError):
        read(stored + b"x", key)


def test_a_sealed_file_that_ends_with_a_whole_chunk_is_read() -> None:
    content = bson.encode({"_id": "a", "content": bytes(CHUNK * 3)})
    assert read(written(KEY, content), KEY) == [("builds.commits", content)]


@pytest.mark.parametrize("key", ["another passphrase", KEY.lower()])
def test_another_key_opens_nothing(key: str) -> None:
    with pytest.raises(BackupError, match="HEADRACE_BACKUP_KEY is not the one"):
        read(written("a passphrase"), key)


def test_without_a_key_a_sealed_file_says_what_it_needs() -> None:
    with pytest.raises(BackupError, match="set HEADRACE_BACKUP_KEY"):
        read(written(KEY))


def test_the_format_of_a_newer_version_is_refused_in_words() -> None:
    with pytest.raises(BackupError, match="has the format 2"):
        read(written().replace(b"headrace-backup 1", b"headrace-backup 2", 1))


@pytest.mark.parametrize("stored", [b"", b"hello", b"PK\x03\x04" + bytes(100), b"headrace-backup one\n{}\n"])
def test_another_file_is_no_backup(stored: bytes) -> None:
    with pytest.raises(BackupError, match="no backup of Headrace"):
        read(stored)
