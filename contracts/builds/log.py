"""Logs, section by section."""

from datetime import datetime

from contracts.messages import Message, Query


class Section(Message):
    """A part of a log: `init`, then one per step. Lines are separated by newlines; offsets count bytes of the log."""

    step: str  # without its @
    start_at: datetime | None = None
    closed_at: datetime | None = None
    success: bool | None = None  # known once the next section opens or the job is over
    skipped: bool | None = None
    timed_out: bool = False  # it took longer than its own limit


class LiveSection(Section):
    log: str
    line_number: int  # how many of its lines the reader has with these


class LogSection(Section):
    id: int
    build_id: int
    log: str
    lines: int  # of the section, up to and including these
    more: bool  # there are further ones


class GetLiveLog(Query, wire_name="ReadLiveLog"):
    """The next lines for a reader of a build that is queued, runs, or ended at most 10 s ago. Answer: LiveSection."""

    executor_id: str
    step: str  # the section the reader shows; "-1" at first
    line_number: int  # how many of its lines the reader has


class GetBuildOutput(Query, wire_name="ReadOutput"):
    """The closing words of a queued or running build, so far. Answer: text."""

    executor_id: str


class GetLogSection(Query, wire_name="ReadLog"):
    """The section after `step` of a finished build; "-1" for the first. Answer: LogSection."""

    build_id: int
    step: str
    line_number: int = 0  # how many of its lines the reader has
