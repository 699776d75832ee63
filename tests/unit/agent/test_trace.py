"""The trace of a job: the log that the agent collects and sends."""

import errno
import os
import zlib
from collections.abc import Callable, Iterator

import pytest

from agent.execution.job_log import MAX_MARKERS_BEYOND_LIMIT, OMITTED_NOTICE, TRUNCATED_NOTICE, JobLog
from libs.security.masking import MaskedStream, SecretMasker


@pytest.fixture
def trace() -> Iterator[JobLog]:
    with JobLog(MaskedStream(SecretMasker(["secret"])), limit=20) as trace:
        yield trace


def test_any_part_of_a_trace_can_be_read_again(trace: JobLog) -> None:
    trace.write(b"0123")
    trace.write(b"456789")
    assert (trace.read(0, 100), trace.read(3, 4), trace.read(10, 5)) == (b"0123456789", b"3456", b"")


def test_the_checksum_covers_the_masked_bytes(trace: JobLog) -> None:
    trace.write(b"a sec")
    trace.write(b"ret")
    trace.close()
    assert trace.read(0, 100) == b"a [MASKED]"
    assert trace.checksum == f"crc32:{zlib.crc32(b'a [MASKED]'):08x}"


def test_a_held_back_tail_is_written_at_the_end(trace: JobLog) -> None:
    trace.write(b"to sec")
    assert trace.length == 3
    trace.close()
    assert trace.read(0, 100) == b"to sec"


def test_a_truncated_trace_ends_with_a_notice(trace: JobLog) -> None:
    trace.write(b"0123456789" * 3)
    trace.write(b"more")
    assert trace.read(0, 1000) == b"0123456789" * 2 + TRUNCATED_NOTICE % 20


OPENED = b"section_start:1700000000:hr_word_1\r\x1b[0KStep @test ...\n"
CLOSED = b"section_end:1700000000:hr_word_1\r\x1b[0K\n"


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_sections_beyond_the_limit_are_kept_and_marked_as_omitted(trace: JobLog, piece: int) -> None:
    output = b"0123456789\nabcdefghijklm" + b"no end of line" + OPENED + b"x" * 2000 + CLOSED + b"more"
    for start in range(0, len(output), piece):
        trace.write(output[start : start + piece])
    trace.close()
    content = trace.read(0, 10000)
    assert content.startswith(b"0123456789\n")
    assert content.partition(TRUNCATED_NOTICE % 20)[2] == OPENED + OMITTED_NOTICE + CLOSED


def test_a_section_marker_at_the_limit_is_kept_whole(trace: JobLog) -> None:
    trace.write(b"0123456789\n" + CLOSED)
    assert trace.read(0, 1000) == b"0123456789\n" + TRUNCATED_NOTICE % 20 + CLOSED


def test_the_number_of_section_markers_is_limited(trace: JobLog) -> None:
    for _ in range(MAX_MARKERS_BEYOND_LIMIT + 10):
        trace.write(CLOSED)
    assert trace.read(0, 10**6).count(CLOSED) == MAX_MARKERS_BEYOND_LIMIT


def test_messages_of_the_agent_follow_a_truncated_trace(trace: JobLog) -> None:
    trace.write(b"0123456789" * 3)
    trace.write_line("Job failed with a secret")
    assert trace.read(0, 1000) == b"0123456789" * 2 + TRUNCATED_NOTICE % 20 + b"Job failed with a [MASKED]\n"


def test_a_line_with_invalid_characters_is_written(trace: JobLog) -> None:
    trace.write_line("a\ud800b")
    assert trace.read(0, 10) == b"a?b\n"


@pytest.fixture
def limit_disk(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return a function that limits the size of log files. Writes beyond the limit fail, as on a full disk."""

    def limit_writes(limit: int) -> None:
        write = os.pwrite

        def pwrite(handle: int, content: bytes, offset: int) -> int:
            if offset >= limit:
                raise OSError(errno.ENOSPC, "No space left on device")
            return write(handle, content[: limit - offset], offset)

        monkeypatch.setattr(os, "pwrite", pwrite)

    return limit_writes


def test_a_full_disk_ends_the_trace_with_a_notice(limit_disk: Callable[[int], None]) -> None:
    limit_disk(10)
    with JobLog(MaskedStream(SecretMasker([]))) as trace:
        for output in (b"first\n", b"second\n", b"third\n"):
            trace.write(output)
        trace.write_line("Job succeeded")
        trace.close()
        whole = trace.read(0, 10_000)
        pieces = b"".join(trace.read(offset, 7) for offset in range(0, trace.length, 7))
    notice = b"\nThe agent could not write the rest of the log to its disk: [Errno 28] No space left on device\n"
    assert whole == b"first\nsecond\n" + notice + b"Job succeeded\n"
    assert (pieces, trace.length) == (whole, len(whole))
    assert trace.checksum == f"crc32:{zlib.crc32(whole):08x}"
