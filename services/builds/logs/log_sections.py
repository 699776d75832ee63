"""Cutting a log into sections: the markers of our own program open and close them, all else is text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from contracts.builds import PlannedStep, Section
from libs.section_markers import MARKER, format_job_section_name, format_section_name
from services.builds.execution.script import TIMEOUT_SUFFIX

INIT_SECTION = "init"
EPOCH = datetime.fromtimestamp(0, UTC)
MIN_MILLISECOND_TIMESTAMP = 10**11  # smaller times are seconds


@dataclass(frozen=True, slots=True)
class SectionText:
    """Text that belongs to one section."""

    section_index: int  # its place in the list of sections
    text: bytes


class SplitLog(NamedTuple):
    pieces: list[SectionText]
    sections: list[Section]  # as they are afterwards
    runner_start_ms: (
        int | None
    )  # when the job began, in milliseconds by the clock of its runner; None: no marker has told yet


def split_sections(
    data: bytes,
    sections: Sequence[Section],
    steps: Sequence[PlannedStep],
    nonce: str,
    now: datetime,
    runner_start_ms: int | None = None,
) -> SplitLog:
    """Cut the data into pieces of text. Markers of others are left out of the text.

    Sections have the times of their markers, relative to the job's beginning, which is that of the first section.
    """
    known = {format_section_name(nonce, place).encode(): step for place, step in enumerate(steps)}
    result = list(sections) or [Section(step=INIT_SECTION, start_at=now)]
    pieces: list[SectionText] = []
    parts = list(_split_at_markers(data))
    start = result[0].start_at or now
    if runner_start_ms is None:
        runner_start_ms = _find_runner_start(parts, nonce)
    if runner_start_ms is None:
        runner_start_ms = _guess_runner_start(
            [marker for _, marker in parts if marker and _marker_section(marker) in known], start, now
        )
    for text, marker in parts:
        if text:
            pieces.append(SectionText(len(result) - 1, text))
        step = known.get(_marker_section(marker)) if marker else None
        if marker is None or step is None:
            continue
        last = result[-1]
        at = _marker_time(marker, start, runner_start_ms, last.closed_at or last.start_at or now, now)
        title = step.name.removeprefix("@")
        if marker[1] == b"start":
            if any(one.step == title for one in result):
                continue  # each begins once: a script that knows the word must not make sections without end
            # what a kill interrupts has failed; so has what is followed by the last part although it did not close
            good = last.closed_at is not None or len(result) == 1 if step.after else not step.on_kill
            result[-1] = close_section(last, steps, at, success=good)
            result.append(Section(step=title, start_at=at, skipped=step.skipped or None))
        elif last.closed_at is None:
            result[-1] = last.replace(closed_at=at, timed_out=marker[3].endswith(b"." + TIMEOUT_SUFFIX))
    return SplitLog(pieces, result, runner_start_ms)


Marker = re.Match[bytes]
LogParts = Sequence[tuple[bytes, Marker | None]]


def _marker_section(marker: Marker) -> bytes:
    return marker[3].partition(b".")[0]


def _marker_time_ms(marker: Marker) -> int:
    """GitLab's markers have seconds, our own programs write milliseconds where they can."""
    time = int(marker[2])
    return time if time >= MIN_MILLISECOND_TIMESTAMP else time * 1000


def _find_runner_start(parts: LogParts, nonce: str) -> int | None:
    """Return when the job began by the runner's clock, as the runner itself reports it."""
    name = format_job_section_name(nonce).encode()
    return next((_marker_time_ms(marker) for _, marker in parts if marker and marker[3] == name), None)


def _guess_runner_start(markers: Sequence[Marker], start: datetime, now: datetime) -> int | None:
    """Return when the job began by the clock of a runner that does not tell.

    Its clock is taken to be right if the markers lie between the beginning and now, else the last one is of now.
    """
    if not markers:
        return None
    first, last = _marker_time_ms(markers[0]), _marker_time_ms(markers[-1])
    begin, end = _epoch_ms(start), _epoch_ms(now)
    return begin if begin - 1000 <= first and last <= end else begin + last - end


def _epoch_ms(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def _marker_time(
    marker: Marker, start: datetime, runner_start_ms: int | None, earliest: datetime, latest: datetime
) -> datetime:
    """Return when a marker was written, by the server's clock: never before the marker before it, nor after now."""
    try:
        at = (
            latest
            if runner_start_ms is None
            else start + timedelta(milliseconds=_marker_time_ms(marker) - runner_start_ms)
        )
    except OverflowError:
        at = latest
    return max(min(at, latest), earliest)


def close_section(section: Section, steps: Sequence[PlannedStep], now: datetime, *, success: bool) -> Section:
    """Another section begins, or the job is over: now it is known how this one went.

    Nobody reports how the clean-up went: it closes its section only if it went well.
    """
    if any((step.on_kill or step.after) and step.name.removeprefix("@") == section.step for step in steps):
        success = section.closed_at is not None
    closed_at = section.closed_at or max(now, section.start_at or now)  # a replica of 0.2.0 goes by its own clock
    return section.replace(closed_at=closed_at, success=success and not section.timed_out)


def _split_at_markers(data: bytes) -> Iterator[tuple[bytes, Marker | None]]:
    start = 0
    for marker in MARKER.finditer(data):
        yield data[start : marker.start()], marker
        start = marker.end()
    yield data[start:], None
