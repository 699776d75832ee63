"""Log sections: split log bytes at the section markers that the job's own program writes."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from contracts.builds import PlannedStep, Section
from libs.section_markers import MARKER, format_job_section_name, format_section_name
from services.builds.execution.script import TIMEOUT_SUFFIX

INIT_SECTION = "init"
EPOCH = datetime.fromtimestamp(0, UTC)
MIN_MILLISECOND_TIMESTAMP = 10**11  # smaller timestamps are in seconds


@dataclass(frozen=True, slots=True)
class SectionText:
    section_index: int
    text: bytes


class SplitLog(NamedTuple):
    texts: list[SectionText]
    sections: list[Section]  # all sections, including earlier ones
    runner_start_ms: int | None  # when the job started, in milliseconds of the runner's clock; None: no marker yet


def split_sections(
    data: bytes,
    sections: Sequence[Section],
    steps: Sequence[PlannedStep],
    nonce: str,
    now: datetime,
    runner_start_ms: int | None = None,
) -> SplitLog:
    """Split log bytes into the texts of sections. Markers of other programs are removed, and start no section.

    Sections get the times of their markers, relative to the start of the job, which is the start of the first section.
    """
    steps_by_name = {format_section_name(nonce, index).encode(): step for index, step in enumerate(steps)}
    result = list(sections) or [Section(step=INIT_SECTION, start_at=now)]
    texts: list[SectionText] = []
    parts = list(_split_at_markers(data))
    start = result[0].start_at or now
    if runner_start_ms is None:
        runner_start_ms = _find_runner_start(parts, nonce)
    if runner_start_ms is None:
        own_markers = [marker for _, marker in parts if marker and _marker_section(marker) in steps_by_name]
        runner_start_ms = _guess_runner_start(own_markers, start, now)
    for text, marker in parts:
        if text:
            texts.append(SectionText(len(result) - 1, text))
        step = steps_by_name.get(_marker_section(marker)) if marker else None
        if marker is None or step is None:
            continue
        last = result[-1]
        at = _marker_time(marker, start, runner_start_ms, last.closed_at or last.start_at or now, now)
        title = step.name.removeprefix("@")
        if marker[1] == b"start":
            if any(section.step == title for section in result):
                # each section starts once, so that a script that knows the nonce cannot create an unlimited number of
                # sections
                continue
            # When after_script starts, the section before it has failed if it has no end marker; the first section,
            # `init`, never has one. A cleanup step starts only after a cancellation: the section before it has failed.
            success = last.closed_at is not None or len(result) == 1 if step.after else not step.on_kill
            result[-1] = close_section(last, steps, at, success=success)
            result.append(Section(step=title, start_at=at, skipped=step.skipped or None))
        elif last.closed_at is None:
            result[-1] = last.replace(closed_at=at, timed_out=marker[3].endswith(b"." + TIMEOUT_SUFFIX))
    return SplitLog(texts, result, runner_start_ms)


Marker = re.Match[bytes]
LogParts = Sequence[tuple[bytes, Marker | None]]


def _marker_section(marker: Marker) -> bytes:
    return marker[3].partition(b".")[0]


def _marker_time_ms(marker: Marker) -> int:
    """Return the time of a marker in milliseconds. GitLab writes seconds, Headrace writes milliseconds if possible."""
    time = int(marker[2])
    return time if time >= MIN_MILLISECOND_TIMESTAMP else time * 1000


def _find_runner_start(parts: LogParts, nonce: str) -> int | None:
    """Return when the job started by the runner's clock, as reported by the runner, or None."""
    name = format_job_section_name(nonce).encode()
    return next((_marker_time_ms(marker) for _, marker in parts if marker and marker[3] == name), None)


def _guess_runner_start(markers: Sequence[Marker], start: datetime, now: datetime) -> int | None:
    """Estimate when the job started by the runner's clock, if the runner has not reported it.

    If all markers lie between the start of the job and now, the runner's clock is assumed to be right. Otherwise the
    last marker is assumed to have been written now.
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
    """Return when a marker was written, by the server's clock, limited to the time between the last marker and now."""
    at = latest
    if runner_start_ms is not None:
        with suppress(OverflowError):
            at = start + timedelta(milliseconds=_marker_time_ms(marker) - runner_start_ms)
    return max(min(at, latest), earliest)


def close_section(section: Section, steps: Sequence[PlannedStep], now: datetime, *, success: bool) -> Section:
    """Return the section with its end time and result, when the next section starts or the job ends.

    Cleanup steps and `after_script` report no result: they close their section only if they succeed.
    """
    if any((step.on_kill or step.after) and step.name.removeprefix("@") == section.step for step in steps):
        success = section.closed_at is not None
    # a replica of release 0.2.0 whose clock is ahead may have recorded a start in the future
    closed_at = section.closed_at or max(now, section.start_at or now)
    return section.replace(closed_at=closed_at, success=success and not section.timed_out)


def _split_at_markers(data: bytes) -> Iterator[tuple[bytes, Marker | None]]:
    start = 0
    for marker in MARKER.finditer(data):
        yield data[start : marker.start()], marker
        start = marker.end()
    yield data[start:], None
