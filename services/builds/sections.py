"""Cutting a log into sections: the markers of our own program open and close them, all else is text."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from contracts.builds import PlannedStep, Section
from libs.markers import MARKER, section_name
from services.builds.script import TIMED_OUT

INIT = "init"


@dataclass(frozen=True, slots=True)
class Piece:
    """Text that belongs to one section."""

    section: int  # its place in the list of sections
    text: bytes


def cut(
    data: bytes, sections: Sequence[Section], steps: Sequence[PlannedStep], word: str, now: datetime
) -> tuple[list[Piece], list[Section]]:
    """The pieces of text, and the sections as they are afterwards. Markers of others are left out of the text."""
    known = {section_name(word, place).encode(): step for place, step in enumerate(steps)}
    result = list(sections) or [Section(step=INIT, start_at=now)]
    pieces: list[Piece] = []
    for text, marker in _parts(data):
        if text:
            pieces.append(Piece(len(result) - 1, text))
        name, _, how = marker[3].partition(b".") if marker else (b"", b"", b"")
        step = known.get(name)
        if marker is None or step is None:
            continue
        last = result[-1]
        at = _moment(int(marker[2]), last.closed_at or last.start_at or now, now)
        title = step.name.removeprefix("@")
        if marker[1] == b"start":
            if any(one.step == title for one in result):
                continue  # each begins once: a script that knows the word must not make sections without end
            # what a kill interrupts has failed; so has what is followed by the last part although it did not close
            good = last.closed_at is not None or len(result) == 1 if step.after else not step.on_kill
            result[-1] = ended(last, steps, at, success=good)
            result.append(Section(step=title, start_at=at, skipped=step.skipped or None))
        elif last.closed_at is None:
            result[-1] = last.but(closed_at=at, timed_out=how == TIMED_OUT)
    return pieces, result


def _moment(seconds: int, earliest: datetime, latest: datetime) -> datetime:
    """When the runner says that it was, as far as that can be: its clock may be wrong. Never before `earliest`."""
    try:
        return max(min(datetime.fromtimestamp(seconds, UTC), latest), earliest)
    except (OverflowError, ValueError, OSError):
        return max(latest, earliest)


def ended(section: Section, steps: Sequence[PlannedStep], now: datetime, *, success: bool) -> Section:
    """Another section begins, or the job is over: now it is known how this one went.

    Nobody reports how the clean-up went: it closes its section only if it went well.
    """
    if any((step.on_kill or step.after) and step.name.removeprefix("@") == section.step for step in steps):
        success = section.closed_at is not None
    closed_at = section.closed_at or max(now, section.start_at or now)  # a replica of 0.2.0 goes by its own clock
    return section.but(closed_at=closed_at, success=success and not section.timed_out)


def _parts(data: bytes) -> Iterator[tuple[bytes, re.Match[bytes] | None]]:
    start = 0
    for marker in MARKER.finditer(data):
        yield data[start : marker.start()], marker
        start = marker.end()
    yield data[start:], None
