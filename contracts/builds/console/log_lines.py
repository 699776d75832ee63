"""Lines of a job's log by position."""

from datetime import datetime

from pydantic import Field

from contracts.builds.console.build_overview import LogStep
from contracts.messages import Message, Query

MAX_LOG_LINES = 10_000  # maximum number of lines in one answer; fewer if they do not fit into a message
MAX_POSITION = 2**31 - 1


class GetLogLines(Query):
    """Get the lines of the log of one attempt that follow a position, across section boundaries. Answer: LogExcerpt.

    Errors: JOB_NOT_FOUND, LOG_NOT_FOUND if the job has no such attempt.
    """

    job_id: int
    attempt: int = Field(default=0, ge=0, le=MAX_POSITION)  # 0: the latest attempt that a runner had
    section: int = Field(default=0, ge=0, le=MAX_POSITION)
    line: int = Field(default=0, ge=0, le=MAX_POSITION)  # number of lines of the section to skip
    limit: int = Field(default=5000, ge=1, le=MAX_LOG_LINES)
    tail: int | None = Field(default=None, ge=1, le=MAX_LOG_LINES)  # return only this number of last lines


class LogPosition(Message):
    section: int
    line: int


class LineTime(Message):
    """The time at which a line, and the lines after it up to the next LineTime, arrived at the server."""

    line: int
    at: datetime


class LogChunk(Message):
    """Consecutive lines of one section."""

    section: int
    line: int  # number of the first line in its section, from 0
    lines: tuple[str, ...]
    times: tuple[LineTime, ...] = ()  # empty: unknown, as in logs of releases up to 0.2.0


class LogExcerpt(Message):
    attempt: int  # 0: no runner has had the job
    finished: bool  # the attempt has ended, and its log is complete
    total: int  # number of complete lines in all sections
    sections: tuple[LogStep, ...]
    chunks: tuple[LogChunk, ...]
    next: LogPosition  # position after the last returned line, to continue there
    more: bool  # whether further lines are stored
