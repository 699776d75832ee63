"""Section markers: sequences in a job's log that mark the start and the end of a section.

The format is GitLab's: https://docs.gitlab.com/ci/jobs/job_logs/#custom-collapsible-sections. A marker contains the
time in seconds. Headrace's own markers contain it in milliseconds, or in seconds if the job's shell cannot
measure milliseconds. Headrace's section names contain a random nonce, which is new for each attempt of a job.
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
    """Return the marker that the agent writes when it starts a job. It carries the agent's clock, in milliseconds."""
    return b"section_start:%d:%b\r\x1b[0K" % (milliseconds, format_job_section_name(nonce).encode())


def format_job_section_name(nonce: str) -> str:
    return f"hr_{nonce}_job"


def find_nonces(script: str) -> frozenset[str]:
    return frozenset(NONCE.findall(script))


def compile_marker_pattern(nonces: Iterable[str]) -> re.Pattern[bytes] | None:
    """Return a pattern for the markers with these nonces, without the end of the line. Return None without nonces."""
    names = b"|".join(re.escape(nonce.encode()) for nonce in sorted(set(nonces)))
    if not names:
        return None
    name = rb"hr_(?:%b)_(?:\d{1,4}(?:\.[a-z]{1,16})?|job)" % names
    return re.compile(rb"(?:\x1b\[0K)?section_(?:start|end):\d{1,15}:%b\r\x1b\[0K" % name)


def incomplete_marker_length(data: bytes) -> int:
    """Return the length of an incomplete marker at the end of the data; 0 without one.

    The caller prepends the incomplete marker to the next chunk.
    """
    if found := INCOMPLETE_MARKER.search(data):
        return len(data) - found.start()
    for length in range(min(len(MARKER_PREFIXES[1]), len(data)), 0, -1):
        if any(beginning.startswith(data[-length:]) for beginning in MARKER_PREFIXES):
            return length
    return 0
