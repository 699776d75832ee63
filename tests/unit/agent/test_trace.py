"""The log of one job."""

import zlib
from collections.abc import Iterator

import pytest

from agent.masking import Masker
from agent.trace import TRUNCATED, Trace


@pytest.fixture
def trace() -> Iterator[Trace]:
    with Trace(Masker(["secret"]), limit=20) as trace:
        yield trace


def test_any_part_can_be_read_again(trace: Trace) -> None:
    trace.write(b"0123")
    trace.write(b"456789")
    assert (trace.read(0, 100), trace.read(3, 4), trace.read(10, 5)) == (b"0123456789", b"3456", b"")


def test_the_checksum_is_of_the_masked_bytes(trace: Trace) -> None:
    trace.write(b"a sec")
    trace.write(b"ret")
    trace.close()
    assert trace.read(0, 100) == b"a [MASKED]"
    assert trace.checksum == f"crc32:{zlib.crc32(b'a [MASKED]'):08x}"


def test_a_held_back_tail_comes_out_at_the_end(trace: Trace) -> None:
    trace.write(b"to sec")
    assert trace.length == 3
    trace.close()
    assert trace.read(0, 100) == b"to sec"


def test_what_is_too_long_ends_with_a_notice(trace: Trace) -> None:
    trace.write(b"0123456789" * 3)
    trace.write(b"more")
    assert trace.read(0, 1000) == b"0123456789" * 2 + TRUNCATED % 20


def test_a_line_with_broken_characters_is_written_anyway(trace: Trace) -> None:
    trace.line("a\ud800b")
    assert trace.read(0, 10) == b"a?b\n"
