"""Artifacts: files that a job leaves behind, for people and for the jobs that come after it."""

from datetime import datetime

from pydantic import Base64Bytes, Field

from contracts.messages import Command, Event, Message, Query, Sensitive
from contracts.paging import SliceQuery

ARCHIVE_TYPE = "archive"
TRACE_TYPE = "trace"


class Artifact(Message):
    """A file that is there as a whole."""

    id: str  # UUID
    artifact_type: str  # archive, junit, ...; a job has one of each
    artifact_format: str  # zip, gzip or raw
    file_name: str
    size: int  # bytes
    uploaded_at: datetime
    expire_at: datetime | None = None  # nothing: as long as its build


class StartArtifactUpload(Command, wire_name="BeginArtifact"):
    """A runner wants to upload a file of its job. Answer: ArtifactUpload; refused JOB_TOKEN and ARTIFACT_TOO_MANY."""

    job_id: int
    token: Sensitive


class ArtifactUpload(Message):
    """A file on its way; nobody sees it before it is finished."""

    artifact_id: str
    length: int = 0  # bytes received
    longest: int  # bytes that a file may have


class AppendArtifactUpload(Command, wire_name="AppendArtifact"):
    """More of the file, from a byte offset; the same piece may come again. Answer: ArtifactUpload.

    Refused ARTIFACT_TOO_LARGE, and JOB_TOKEN where the upload was given up.
    """

    artifact_id: str
    offset: int = Field(ge=0)
    content: Base64Bytes = Field(repr=False)


class FinishArtifactUpload(Command, wire_name="FinishArtifact"):
    """The file is complete; it takes the place of one of the same type. Answer: Artifact.

    Refused JOB_TOKEN, ARTIFACT_INCOMPLETE and ARTIFACT_EXPIRE_IN_INVALID.
    """

    job_id: int
    token: Sensitive
    artifact_id: str
    size: int = Field(ge=0)
    artifact_type: str = Field(default=ARCHIVE_TYPE, pattern=r"^[a-z][a-z0-9_]{0,63}$")
    artifact_format: str = Field(default="zip", pattern=r"^(zip|gzip|raw)$")
    file_name: str = Field(min_length=1, max_length=255)
    expire_in: str = Field(default="", max_length=255)  # "1 week", "never", "P1D", seconds; nothing: as the job wishes


class DiscardArtifactUpload(Command, wire_name="DiscardArtifact"):
    """The upload broke off. Answer: ArtifactUpload."""

    artifact_id: str


class RecordArtifact(Command):
    """The file is there as a whole."""

    job_id: int
    attempt: int
    artifact: Artifact


class RemoveArtifact(Command):
    """Its time is over; what is gone already changes nothing."""

    job_id: int
    artifact_id: str
    reason: str


class ArtifactUploaded(Event):
    job_id: int
    build_id: int
    project_id: int
    attempt: int
    artifact_id: str
    artifact_type: str
    artifact_format: str
    file_name: str
    size: int
    expire_at: datetime | None = None


class ArtifactRemoved(Event):
    """Its bytes are cleared away a little later."""

    job_id: int
    build_id: int
    project_id: int
    artifact_id: str
    reason: str  # expired, replaced, or retried: the job runs again


class GetArtifact(Query):
    """The archive of a job, for a runner: with the job's own token, or with that of a running job of the same build.

    Answer: Artifact. Refused JOB_TOKEN and ARTIFACT_NOT_FOUND.
    """

    job_id: int
    token: Sensitive


class GetArtifactChunk(Query, wire_name="ReadArtifact"):
    """The piece of a file at a byte offset where a piece begins. Answer: bytes, at least one."""

    artifact_id: str
    offset: int


class JobFile(Artifact):
    """An artifact, or the log of a job: its type is `trace`, its id the UUID of the job, its size as far as it is."""

    job_id: int
    job_local_id: int


class ListJobFiles(SliceQuery, wire_name="ListFiles"):
    """What a job left, or all jobs of a build; which one is said by its number in the project.

    Answer: Page of FileOfJob. Refused JOB_NOT_FOUND and BUILD_NOT_FOUND.
    """

    project_id: int
    job_local_id: int | None = None
    build_local_id: int | None = None  # where there is no job


class GetTrace(Query, wire_name="ReadTrace"):
    """The log of a job, from a line of a section on, as much as fits. Answer: TracePart; refused JOB_NOT_FOUND."""

    job_id: int
    attempt: int = Field(default=0, ge=0)  # 0: the last one that a runner had
    section: int = 0
    line_number: int = 0


class TraceChunk(Message):
    lines: tuple[str, ...]
    section: int  # where it goes on, if there is more
    line_number: int
    more: bool
