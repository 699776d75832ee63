"""Messages about artifacts and logs of jobs."""

from datetime import datetime

from pydantic import Base64Bytes, Field

from contracts.messages import Command, Event, Message, Query, Sensitive
from contracts.paging import PageRequest

ARCHIVE_TYPE = "archive"
JUNIT_TYPE = "junit"
TRACE_TYPE = "trace"


class Artifact(Message):
    """A file that a job has completely uploaded."""

    id: str  # UUID
    artifact_type: str  # archive, junit, ...; at most one of each per job
    artifact_format: str  # zip, gzip or raw
    file_name: str
    size: int  # bytes
    uploaded_at: datetime
    expire_at: datetime | None = None  # None: kept until a retention limit applies, or the build is deleted


class StartArtifactUpload(Command, wire_name="BeginArtifact"):
    """Start the upload of a file by a runner. Answer: ArtifactUpload. Errors: JOB_TOKEN, ARTIFACT_TOO_MANY."""

    job_id: int
    token: Sensitive


class ArtifactUpload(Message):
    """An upload in progress. The file becomes visible when the upload is finished."""

    artifact_id: str
    length: int = 0  # bytes received
    longest: int  # maximum size of a file in bytes


class AppendArtifactUpload(Command, wire_name="AppendArtifact"):
    """Append a chunk at a byte offset. A chunk may be sent again. Answer: ArtifactUpload.

    Errors: ARTIFACT_TOO_LARGE, ARTIFACT_STORE_UNAVAILABLE, and JOB_TOKEN if the upload is closed or an earlier chunk is
    missing.
    """

    artifact_id: str
    offset: int = Field(ge=0)
    content: Base64Bytes = Field(repr=False)


class FinishArtifactUpload(Command, wire_name="FinishArtifact"):
    """Complete an upload. The file replaces an earlier one of the same type. Answer: Artifact.

    Errors: JOB_TOKEN, ARTIFACT_INCOMPLETE, ARTIFACT_EXPIRE_IN_INVALID.
    """

    job_id: int
    token: Sensitive
    artifact_id: str
    size: int = Field(ge=0)
    artifact_type: str = Field(default=ARCHIVE_TYPE, pattern=r"^[a-z][a-z0-9_]{0,63}$")
    artifact_format: str = Field(default="zip", pattern=r"^(zip|gzip|raw)$")
    file_name: str = Field(min_length=1, max_length=255)
    expire_in: str = Field(default="", max_length=255)  # "1 week", "never", "P1D", seconds; empty: the job's setting


class DiscardArtifactUpload(Command, wire_name="DiscardArtifact"):
    """Discard an unfinished upload. A finished upload is not changed. Answer: ArtifactUpload.

    Errors: ARTIFACT_STORE_UNAVAILABLE.
    """

    artifact_id: str


class ArtifactUploaded(Event):
    """A file of a job was completely uploaded. Runners and users can download it."""

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
    """An artifact was removed. Its content is deleted a little later."""

    job_id: int
    build_id: int
    project_id: int
    artifact_id: str
    reason: str  # `expired`, also by a retention limit; `replaced`; or `retried` if the job runs again


class GetArtifact(Query):
    """Get the archive of a job. `token` must belong to this job, or to an unfinished job of the same build.

    Answer: Artifact. Errors: JOB_TOKEN, ARTIFACT_NOT_FOUND.
    """

    job_id: int
    token: Sensitive


class GetArtifactChunk(Query, wire_name="ReadArtifact"):
    """Get the chunk of a file that starts at a byte offset. Answer: bytes.

    Errors: ARTIFACT_STORE_UNAVAILABLE, and ARTIFACT_NOT_FOUND, also if no chunk starts at the offset.
    """

    artifact_id: str
    offset: int


class JobFile(Artifact):
    """An artifact or the log of a job. A log has the type `trace`, the job's UUID as id, and its current size."""

    job_id: int
    job_local_id: int


class ListJobFiles(PageRequest, wire_name="ListFiles"):
    """List the files of a job or of all jobs of a build, given by its number in the project.

    Answer: Page of JobFile. Errors: JOB_NOT_FOUND, BUILD_NOT_FOUND.
    """

    project_id: int
    job_local_id: int | None = None
    build_local_id: int | None = None  # used if `job_local_id` is None


class GetTrace(Query, wire_name="ReadTrace"):
    """Get the lines that follow a line of a section in a job's log. Answer: TraceChunk.

    Errors: JOB_NOT_FOUND, also if no runner has had the job or the attempt.
    """

    job_id: int
    attempt: int = Field(default=0, ge=0)  # 0: the latest attempt that a runner had
    section: int = 0
    line_number: int = 0


class TraceChunk(Message):
    """Lines of a job's log, as many as fit into a message, and the position of the next line."""

    lines: tuple[str, ...]
    section: int  # section of the next line
    line_number: int
    more: bool
