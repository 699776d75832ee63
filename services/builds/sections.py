"""Cutting a log into sections: the markers of our own program open and close them, all else is text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from contracts.builds import PlannedStep, Section
from libs.markers import MARKER, job_name, section_name
from services.builds.script import TIMED_OUT

INIT = "init"
EPOCH = datetime.fromtimestamp(0, UTC)
FIRST_MILLISECONDS = 10**11  # smaller times are seconds


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that belongs to one section."""

    section: int  # its place in the list of sections
    text: bytes


class Cut(NamedTuple):
    pieces: list[Piece]
    sections: list[Section]  # as they are afterwards
    began: int | None  # when the job began, in milliseconds by the clock of its runner; None: no marker has told yet


def cut(
    data: bytes,
    sections: Sequence[Section],
    steps: Sequence[PlannedStep],
    word: str,
    now: datetime,
    began: int | None = None,
) -> Cut:
    """Cut the data into pieces of text. Markers of others are left out of the text.

    Sections have the times of their markers, relative to the job's beginning, which is that of the first section.
    """
    known = {section_name(word, place).encode(): step for place, step in enumerate(steps)}
    result = list(sections) or [Section(step=INIT, start_at=now)]
    pieces: list[Piece] = []
    parts = list(_parts(data))
    start = result[0].start_at or now
    if began is None:
        began = _beginning(parts, word)
    if began is None:
        began = _guess([marker for _, marker in parts if marker and _step(marker) in known], start, now)
    for text, marker in parts:
        if text:
            pieces.append(Piece(len(result) - 1, text))
        step = known.get(_step(marker)) if marker else None
        if marker is None or step is None:
            continue
        last = result[-1]
        at = _moment(marker, start, began, last.closed_at or last.start_at or now, now)
        title = step.name.removeprefix("@")
        if marker[1] == b"start":
            if any(one.step == title for one in result):
                continue  # each begins once: a script that knows the word must not make sections without end
            # what a kill interrupts has failed; so has what is followed by the last part although it did not close
            good = last.closed_at is not None or len(result) == 1 if step.after else not step.on_kill
            result[-1] = ended(last, steps, at, success=good)
            result.append(Section(step=title, start_at=at, skipped=step.skipped or None))
        elif last.closed_at is None:
            result[-1] = last.but(closed_at=at, timed_out=marker[3].endswith(b"." + TIMED_OUT))
    return Cut(pieces, result, began)


Marker = re.Match[bytes]
Parts = Sequence[tuple[bytes, Marker | None]]


def _step(marker: Marker) -> bytes:
    return marker[3].partition(b".")[0]


def _milliseconds(marker: Marker) -> int:
    """GitLab's markers have seconds, our own programs write milliseconds where they can."""
    time = int(marker[2])
    return time if time >= FIRST_MILLISECONDS else time * 1000


def _beginning(parts: Parts, word: str) -> int | None:
    """Return when the job began by the runner's clock, as the runner itself reports it."""
    name = job_name(word).encode()
    return next((_milliseconds(marker) for _, marker in parts if marker and marker[3] == name), None)


def _guess(markers: Sequence[Marker], start: datetime, now: datetime) -> int | None:
    """Return when the job began by the clock of a runner that does not tell.

    Its clock is taken to be right if the markers lie between the beginning and now, else the last one is of now.
    """
    if not markers:
        return None
    first, last = _milliseconds(markers[0]), _milliseconds(markers[-1])
    begin, end = _since_epoch(start), _since_epoch(now)
    return begin if begin - 1000 <= first and last <= end else begin + last - end


def _since_epoch(at: datetime) -> int:
    return (at - EPOCH) // timedelta(milliseconds=1)


def _moment(marker: Marker, start: datetime, began: int | None, earliest: datetime, latest: datetime) -> datetime:
    """Return when a marker was written, by the server's clock: never before the marker before it, nor after now."""
    try:
        at = latest if began is None else start + timedelta(milliseconds=_milliseconds(marker) - began)
    except OverflowError:
        at = latest
    return max(min(at, latest), earliest)


def ended(section: Section, steps: Sequence[PlannedStep], now: datetime, *, success: bool) -> Section:
    """Another section begins, or the job is over: now it is known how this one went.

    Nobody reports how the clean-up went: it closes its section only if it went well.
    """
    if any((step.on_kill or step.after) and step.name.removeprefix("@") == section.step for step in steps):
        success = section.closed_at is not None
    closed_at = section.closed_at or max(now, section.start_at or now)  # a replica of 0.2.0 goes by its own clock
    return section.but(closed_at=closed_at, success=success and not section.timed_out)


def _parts(data: bytes) -> Iterator[tuple[bytes, Marker | None]]:
    start = 0
    for marker in MARKER.finditer(data):
        yield data[start : marker.start()], marker
        start = marker.end()
    yield data[start:], None
