"""Job artifacts: chunked upload while the job runs, download, and removal once they expire.

The job's stream is the record of which artifacts exist. The collection `artifacts` tracks the stored bytes: it has one
document for each upload, from the start of the upload until `_reconcile` has deleted the last bytes.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import cache
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from contracts.builds import (
    ARCHIVE_TYPE,
    FINISHED_JOB_STATUSES,
    JUNIT_TYPE,
    AppendArtifactUpload,
    Artifact,
    ArtifactRemoved,
    ArtifactUpload,
    DiscardArtifactUpload,
    FinishArtifactUpload,
    GetArtifact,
    GetArtifactChunk,
    JobDeleted,
    JobRow,
    JobStatus,
    StartArtifactUpload,
)
from contracts.errors import RequestRejected
from libs.documents import Document
from libs.eventstore.decider import RecordedEvent, runner_actor
from libs.security.tokens import constant_time_equals, hash_token
from libs.service.declaration import Context
from libs.settings import Settings
from services.builds.artifacts.blob_store import BlobStore
from services.builds.domain.internal_commands import RecordArtifact, RemoveArtifact, StartJob
from services.builds.logs.log_masking import find_masked_values
from services.builds.pipeline.keywords.durations import parse_duration

DEFAULT_EXPIRY = timedelta(days=30)  # GitLab's default, used if neither the upload nor the job sets one
MAX_EXPIRY = timedelta(days=365 * 100)
UPLOAD_IDLE_TIMEOUT = timedelta(hours=1)  # an upload without a new chunk for this long is discarded
BATCH_SIZE = 100
MAX_ARTIFACTS_PER_JOB = 50  # including uploads in progress
ISO_8601_DURATION = re.compile(r"P[0-9YMWDTHS.]+")


class Artifacts:
    """Handlers for uploads, downloads and expiry. `create_store` creates the blob store that the settings select."""

    def __init__(self, create_store: Callable[[Settings], BlobStore]) -> None:
        self._blobs = cache(create_store)

    async def start_upload(self, ctx: Context, command: StartArtifactUpload) -> ArtifactUpload:
        """Start an upload for an unfinished job, and the job itself if it is only assigned.

        Raises JOB_TOKEN and ARTIFACT_TOO_MANY.
        """
        job = await _authorize_upload(ctx, command.job_id, command.token)
        if job.status is JobStatus.ASSIGNED:  # some runners never report that a job has started
            start = StartJob(job_id=job.id, attempt=job.attempt)
            await ctx.send(start, actor=runner_actor(job.runner_name or ""))
        uploads_of_job = {"job_id": job.id, "gone": False}
        count = await ctx.collection("artifacts").count_documents(uploads_of_job, limit=MAX_ARTIFACTS_PER_JOB)
        if count >= MAX_ARTIFACTS_PER_JOB:
            raise RequestRejected("ARTIFACT_TOO_MANY")
        upload = ArtifactUpload(artifact_id=str(uuid4()), longest=_max_bytes(ctx))
        await ctx.collection("artifacts").insert_one(
            {
                "_id": upload.artifact_id,
                "job_id": job.id,
                "length": 0,
                "recorded": False,
                "gone": False,
                "touched_at": ctx.clock.database_time(),
                "expire_at": None,
            }
        )
        return upload

    async def append_upload(self, ctx: Context, command: AppendArtifactUpload) -> ArtifactUpload:
        """Store one chunk. Raises ARTIFACT_TOO_LARGE, ARTIFACT_STORE_UNAVAILABLE and JOB_TOKEN.

        JOB_TOKEN means that the upload is closed or lacks earlier bytes.

        The upload's document is checked before and after the write. If the upload is purged in between, `_reconcile`
        deletes the chunk later.
        """
        uploads, id_ = ctx.collection("artifacts"), command.artifact_id
        end = command.offset + len(command.content)
        if end > _max_bytes(ctx):
            raise RequestRejected("ARTIFACT_TOO_LARGE", f"An artifact has at most {_max_bytes(ctx)} bytes.")
        open_upload = {"_id": id_, "recorded": False, "gone": False, "length": {"$gte": command.offset}}
        if await uploads.find_one_and_update(open_upload, {"$set": {"touched_at": ctx.clock.database_time()}}) is None:
            raise RequestRejected("JOB_TOKEN", "This upload was discarded.")
        await self._blobs(ctx.settings).write(ctx, id_, command.offset, command.content)
        if await uploads.find_one_and_update(open_upload, {"$max": {"length": end}}) is None:
            raise RequestRejected("JOB_TOKEN", "This upload was discarded.")
        return ArtifactUpload(artifact_id=id_, length=end, longest=_max_bytes(ctx))

    async def finish_upload(self, ctx: Context, command: FinishArtifactUpload) -> Artifact:
        """Record the uploaded file as an artifact of its job. It replaces an earlier artifact of the same type.

        Raises JOB_TOKEN, ARTIFACT_EXPIRE_IN_INVALID, and ARTIFACT_INCOMPLETE if bytes are missing.

        The event is recorded before the upload's document is marked as recorded. If the process crashes in between,
        `_reconcile` marks the document.
        """
        job = await _authorize_upload(ctx, command.job_id, command.token)
        uploads, id_ = ctx.collection("artifacts"), command.artifact_id
        artifact = Artifact(
            id=id_,
            artifact_type=command.artifact_type,
            artifact_format=command.artifact_format,
            file_name=command.file_name,
            size=command.size,
            uploaded_at=ctx.metadata.at,
            expire_at=parse_expiry(command.expire_in or _requested_expiry(job, command), ctx.clock.database_time()),
        )
        complete = {"_id": id_, "job_id": job.id, "length": command.size, "gone": False}
        fields: Document = {"touched_at": ctx.clock.database_time(), "expire_at": artifact.expire_at}
        if artifact.artifact_type == JUNIT_TYPE:
            # stored with the upload, because the attempt may have ended when the report is read
            fields |= {"masks": await find_masked_values(ctx, job)}
        if await uploads.find_one_and_update(complete, {"$set": fields}) is None:
            raise RequestRejected("ARTIFACT_INCOMPLETE")
        record = RecordArtifact(job_id=job.id, attempt=job.attempt, artifact=artifact)
        try:
            await ctx.send(record, step=id_, actor=runner_actor(job.runner_name or ""))
        except RequestRejected as rejected:
            if rejected.code not in ("JOB_STATUS", "JOB_NOT_FOUND"):
                raise
            raise RequestRejected("JOB_TOKEN") from None  # the job ended at the same time
        await uploads.update_one({"_id": id_}, {"$set": {"recorded": True}})
        return artifact

    async def discard_upload(self, ctx: Context, command: DiscardArtifactUpload) -> ArtifactUpload:
        await self._purge(ctx, {"_id": command.artifact_id, "recorded": False})
        return ArtifactUpload(artifact_id=command.artifact_id, longest=_max_bytes(ctx))

    async def get_artifact(self, ctx: Context, query: GetArtifact) -> Artifact:
        """Return the job's archive unless it has expired. Raises JOB_TOKEN and ARTIFACT_NOT_FOUND."""
        job = await ctx.read_model(JobRow).get(f"job-{query.job_id}")
        if job is None or not await _may_read(ctx, job, query.token):
            raise RequestRejected("JOB_TOKEN")
        for artifact in job.artifacts:
            if artifact.artifact_type == ARCHIVE_TYPE and not is_expired(artifact, ctx.clock.database_time()):
                return artifact
        raise RequestRejected("ARTIFACT_NOT_FOUND")

    async def get_artifact_chunk(self, ctx: Context, query: GetArtifactChunk) -> bytes:
        """Return the chunk that starts at the offset. Raises ARTIFACT_NOT_FOUND and ARTIFACT_STORE_UNAVAILABLE."""
        chunk = await self._blobs(ctx.settings).read(ctx, query.artifact_id, query.offset)
        if chunk is None:
            raise RequestRejected("ARTIFACT_NOT_FOUND")
        return chunk

    async def purge(self, ctx: Context, recorded: RecordedEvent[ArtifactRemoved | JobDeleted]) -> None:
        """Delete the bytes of a removed artifact, or of all artifacts of a deleted job."""
        match recorded.event:
            case ArtifactRemoved(artifact_id=artifact_id):
                await self._purge(ctx, {"_id": artifact_id})
            case JobDeleted(job_id=job_id):
                await self._purge(ctx, {"job_id": job_id})

    async def expire_artifacts(self, ctx: Context) -> None:
        uploads, now = ctx.collection("artifacts"), ctx.clock.database_time()
        expired = {"gone": False, "recorded": True, "expire_at": {"$lte": now}}
        async for upload in uploads.find(expired, limit=BATCH_SIZE):
            remove = RemoveArtifact(job_id=upload["job_id"], artifact_id=upload["_id"], reason="expired")
            try:
                await ctx.send(remove, step=upload["_id"])
            except RequestRejected as rejected:
                if rejected.code != "JOB_NOT_FOUND":
                    raise
            await self._purge(ctx, {"_id": upload["_id"]})
        idle = {"recorded": False, "touched_at": {"$lt": now - UPLOAD_IDLE_TIMEOUT}}
        async for upload in uploads.find(idle, limit=BATCH_SIZE):
            await self._reconcile(ctx, upload)

    async def _reconcile(self, ctx: Context, upload: Mapping[str, object]) -> None:
        """Mark an idle upload as recorded if its job has the artifact. Otherwise delete its chunks in two passes.

        The first pass marks the upload's document as gone and deletes the chunks. A later pass, at least one idle
        timeout after the first, deletes the chunks that arrived late, and then the document itself.
        """
        job = await ctx.read_model(JobRow).get(f"job-{upload['job_id']}")
        unchanged = {"_id": upload["_id"], "touched_at": upload["touched_at"]}
        if job is not None and any(artifact.id == upload["_id"] for artifact in job.artifacts):
            await ctx.collection("artifacts").update_one(unchanged, {"$set": {"recorded": True}})
        elif not upload["gone"]:
            await self._purge(ctx, unchanged)
        else:
            await self._blobs(ctx.settings).remove(ctx, [str(upload["_id"])])
            await ctx.collection("artifacts").delete_one(unchanged)

    async def _purge(self, ctx: Context, query: Mapping[str, object]) -> None:
        """Mark uploads as gone so that they accept no more chunks, then delete their bytes.

        `_reconcile` deletes the documents of the uploads later.
        """
        uploads = ctx.collection("artifacts")
        ids = {"_id": {"$in": [upload["_id"] async for upload in uploads.find(query, {"_id": 1})]}}
        mark_gone = {"gone": True, "recorded": False, "touched_at": ctx.clock.database_time()}
        await uploads.update_many({"$and": [query, ids]}, {"$set": mark_gone, "$unset": {"masks": ""}})
        marked = [upload["_id"] async for upload in uploads.find({**ids, "gone": True}, {"_id": 1})]
        await self._blobs(ctx.settings).remove(ctx, marked)


def _max_bytes(ctx: Context) -> int:
    return ctx.settings.artifact_megabytes * 1024 * 1024


async def _authorize_upload(ctx: Context, job_id: int, token: str) -> JobRow:
    """Return the job that the token belongs to. Raises JOB_TOKEN if the token is wrong or the job is finished."""
    job = await ctx.read_model(JobRow).get(f"job-{job_id}")
    if (
        job is None
        or not job.token_hash
        or not constant_time_equals(job.token_hash, hash_token(token))
        or job.status in FINISHED_JOB_STATUSES
    ):
        raise RequestRejected("JOB_TOKEN")
    return job


async def _may_read(ctx: Context, job: JobRow, token: str) -> bool:
    """Return whether the token allows a download: it belongs to the job, or to an unfinished job of the same build."""
    hashed = hash_token(token)
    if job.token_hash and constant_time_equals(job.token_hash, hashed):
        return True
    attempt = await ctx.collection("attempts").find_one({"_id": hashed, "build_id": job.build_id}, {"job_id": 1})
    if attempt is None:
        return False
    reader = await ctx.read_model(JobRow).get(f"job-{attempt['job_id']}")
    return (
        reader is not None
        and constant_time_equals(reader.token_hash, hashed)
        and reader.status not in FINISHED_JOB_STATUSES
    )


def _requested_expiry(job: JobRow, command: FinishArtifactUpload) -> str:
    """Return the planned `expire_in` of an archive or report, because not every runner sends it."""
    if job.planned is None:
        return ""
    planned = {ARCHIVE_TYPE: job.planned.artifacts, JUNIT_TYPE: job.planned.reports}.get(command.artifact_type)
    return (planned.expire_in or "") if planned else ""


def is_expired(artifact: Artifact, now: datetime) -> bool:
    return artifact.expire_at is not None and artifact.expire_at <= now


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """Parse `expire_in` and return when the artifact expires, or None for never. Raises ARTIFACT_EXPIRE_IN_INVALID.

    An empty text means DEFAULT_EXPIRY.
    """
    duration = text.strip()
    if not duration:
        return now + DEFAULT_EXPIRY
    if duration.lower() == "never":
        return None
    is_iso = ISO_8601_DURATION.fullmatch(duration.upper())
    seconds = _parse_iso_8601(duration.upper()) if is_iso else parse_duration(duration)
    if seconds is None:
        raise RequestRejected("ARTIFACT_EXPIRE_IN_INVALID")
    return now + min(timedelta(seconds=min(seconds, MAX_EXPIRY.total_seconds())), MAX_EXPIRY)


def _parse_iso_8601(text: str) -> int | None:
    try:
        return int(TypeAdapter(timedelta).validate_python(text).total_seconds())
    except (ValidationError, OverflowError):
        return None
