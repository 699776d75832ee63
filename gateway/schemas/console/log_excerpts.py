"""Response models of lines of a log, and of the events of a log that is followed."""

from typing import Self

from pydantic import ConfigDict, Field

from contracts.builds import LogExcerpt
from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.console.build_overviews import LogStep
from gateway.schemas.samples import MOMENT


class Positioned(ResponseModel):
    """A model with the number of a line, which is named `from` in JSON."""

    model_config = ConfigDict(extra="ignore", frozen=True, serialize_by_alias=True, validate_by_name=True)

    line: int = Field(serialization_alias="from", description="number of the line in its section, from 0")


class LogPosition(Positioned):
    section: int = Field(description="number of the section, from 0")


class LineTime(ResponseModel):
    line: int = Field(description="number of the line in its section, from 0")
    at: Moment = Field(description="when this line, and those up to the next entry, arrived", examples=[MOMENT])


class LogChunk(Positioned):
    section: int = Field(description="number of the section, from 0")
    lines: tuple[str, ...] = Field(description="text of the lines, secrets masked", examples=[["compiling"]])
    times: tuple[LineTime, ...] = Field(description="when lines arrived, as far as known")


class LogText(ResponseModel):
    model_config = ConfigDict(extra="ignore", frozen=True, serialize_by_alias=True)

    attempt: int = Field(description="attempt number, from 1; 0: no runner has had the job", examples=[1])
    finished: bool = Field(description="whether the attempt has ended, so that its log does not grow")

    @classmethod
    def of(cls, excerpt: LogExcerpt) -> Self:
        return cls.model_validate_json(excerpt.model_dump_json())


class LogIndex(LogText):
    total: int = Field(description="number of complete lines of all sections", examples=[120])
    sections: tuple[LogStep, ...]


class LogLines(LogText):
    chunks: tuple[LogChunk, ...] = Field(description="lines in the order of the log")
    next: LogPosition = Field(description="where to continue")
    more: bool = Field(description="whether further lines exist now")


class LogPage(LogIndex, LogLines):
    """Lines of a log with the index of its sections."""


LOG_PAGE = serialize(LogPage)
