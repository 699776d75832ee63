"""Messages about the logs of builds, which consist of sections."""

from datetime import datetime

from contracts.messages import Message, Query


class Section(Message):
    """A section of a log: first `init`, then one section for each step that has started."""

    step: str  # name of the step, without the @
    start_at: datetime | None = None
    closed_at: datetime | None = None
    success: bool | None = None  # None until the next section starts or the job is finished
    skipped: bool | None = None
    timed_out: bool = False  # the step exceeded its own time limit


class LiveSection(Section):
    """New lines of a section of the live log of a build."""

    log: str
    line_number: int  # number of lines of the section read so far, including those in `log`


class LogSection(Section):
    """Lines of a section of a finished build's log."""

    id: int
    build_id: int
    log: str
    lines: int  # number of lines of the section read so far, including those in `log`
    more: bool  # whether the section has further lines


class GetLiveLog(Query, wire_name="ReadLiveLog"):
    """Get the next log lines of a build that is unfinished, or that finished at most 10 seconds ago.

    Answer: LiveSection. Errors: EXECUTOR_NOT_FOUND.
    """

    executor_id: str
    step: str  # name of the section read last; "-1" at first
    line_number: int  # number of lines of the section read so far


class GetBuildOutput(Query, wire_name="ReadOutput"):
    """Get the output of an unfinished build: a note until the build starts, then nothing. Answer: text as bytes.

    Errors: EXECUTOR_NOT_FOUND, also if the build is finished.
    """

    executor_id: str


class GetLogSection(Query, wire_name="ReadLog"):
    """Get the section after `step` in the log of a finished build. "-1" requests the first section.

    Answer: LogSection. Errors: BUILD_NOT_FOUND, also if the build is not finished, and LOG_NOT_FOUND.
    """

    build_id: int
    step: str
    line_number: int = 0  # number of lines of the section read so far
