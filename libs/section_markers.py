"""Section markers, by which a job's program tells where a section of its log begins and ends.

The format is GitLab's: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections. The time is in seconds
or, from our own programs, in milliseconds. The names of our own markers carry a word that is drawn for each attempt.
"""

import re
from collections.abc import Iterable

MARKER = re.compile(rb"(?:\x1b\[0K)?section_(start|end):(\d{1,15}):([A-Za-z0-9_.-]{1,128})\r\x1b\[0K\n?")
NONCE = re.compile(r"\bhr_([0-9a-f]{12})_\d")
INCOMPLETE_MARKER = re.compile(rb"(?:\x1b\[0K)?section_[^\n]{0,200}\Z")
MARKER_PREFIXES = (b"section_", b"\x1b[0Ksection_")


def format_section_name(nonce: str, index: int) -> str:
    return f"hr_{nonce}_{index}"


def format_job_marker(nonce: str, milliseconds: int) -> bytes:
    """Return what a runner writes when it begins with a job: the time by its clock that all other markers follow."""
    return b"section_start:%d:%b\r\x1b[0K" % (milliseconds, format_job_section_name(nonce).encode())


def format_job_section_name(nonce: str) -> str:
    return f"hr_{nonce}_job"


def find_nonces(script: str) -> frozenset[str]:
    """Return the words of the markers that a script writes."""
    return frozenset(NONCE.findall(script))


def compile_marker_pattern(nonces: Iterable[str]) -> re.Pattern[bytes] | None:
    """Return what matches the markers with these words, without the line end."""
    names = b"|".join(re.escape(word.encode()) for word in sorted(set(nonces)))
    if not names:
        return None
    name = rb"hr_(?:%b)_(?:\d{1,4}(?:\.[a-z]{1,16})?|job)" % names
    return re.compile(rb"(?:\x1b\[0K)?section_(?:start|end):\d{1,15}:%b\r\x1b\[0K" % name)


def incomplete_marker_length(data: bytes) -> int:
    """Return how many bytes at the end may be the beginning of a marker, and must wait for the next piece."""
    if found := INCOMPLETE_MARKER.search(data):
        return len(data) - found.start()
    for length in range(min(len(MARKER_PREFIXES[1]), len(data)), 0, -1):
        if any(beginning.startswith(data[-length:]) for beginning in MARKER_PREFIXES):
            return length
    return 0
