"""Messages about the logs of builds, by section."""

from datetime import datetime

from contracts.messages import Message, Query


class Section(Message):
    """A section of a log: `init`, then one per step. Lines are separated by newlines; offsets are in bytes."""

    step: str  # without the @
    start_at: datetime | None = None
    closed_at: datetime | None = None
    success: bool | None = None  # known when the next section starts or the job is finished
    skipped: bool | None = None
    timed_out: bool = False  # it exceeded its own time limit


class LiveSection(Section):
    """New lines of a section of an unfinished build's log."""

    log: str
    line_number: int  # lines of the section read so far, including these


class LogSection(Section):
    """Lines of a section of a finished build's log."""

    id: int
    build_id: int
    log: str
    lines: int  # of the section, up to and including these
    more: bool  # whether the section has further lines


class GetLiveLog(Query, wire_name="ReadLiveLog"):
    """Get the next log lines of a build that is queued, running, or ended at most 10 s ago. Answer: LiveSection."""

    executor_id: str
    step: str  # the section read last; "-1" at first
    line_number: int  # lines of the section read so far


class GetBuildOutput(Query, wire_name="ReadOutput"):
    """Get the current output text of a queued or running build. Answer: text."""

    executor_id: str


class GetLogSection(Query, wire_name="ReadLog"):
    """Get the section after `step` of a finished build's log; "-1" for the first. Answer: LogSection."""

    build_id: int
    step: str
    line_number: int = 0  # lines of the section read so far
