"""Artifacts of jobs: taken piece by piece while their job runs, seen once they are recorded, cleared when they expire.

The job's stream says which artifacts there are. The collection `artifacts` says which bytes there are: a document from
the first piece until all is cleared away.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from functools import cache
from typing import Any
from uuid import uuid4

from pydantic import TypeAdapter, ValidationError

from contracts.builds import (
    ARCHIVE_TYPE,
    FINISHED_JOB_STATUSES,
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
    RecordArtifact,
    RemoveArtifact,
    StartArtifactUpload,
    StartJob,
)
from contracts.errors import RequestRejected
from libs.eventstore.decider import RecordedEvent, runner_actor
from libs.security.tokens import constant_time_equals, hash_token
from libs.service.declaration import Context
from libs.settings import Settings
from services.builds.artifacts.blob_store import BlobStore
from services.builds.pipeline.keywords.durations import parse_duration

DEFAULT_EXPIRY = timedelta(days=30)  # GitLab's, where the job says nothing
MAX_EXPIRY = timedelta(days=365 * 100)
UPLOAD_IDLE_TIMEOUT = timedelta(hours=1)  # an upload that nobody goes on with
BATCH_SIZE = 100
MAX_ARTIFACTS_PER_JOB = 50  # of one job, with those under way
ISO_8601_DURATION = re.compile(r"P[0-9YMWDTHS.]+")


class Artifacts:
    def __init__(self, create_store: Callable[[Settings], BlobStore]) -> None:
        self._blobs = cache(create_store)

    # ---- up

    async def start_upload(self, ctx: Context, command: StartArtifactUpload) -> ArtifactUpload:
        job = await _authorize_upload(ctx, command.job_id, command.token)
        if job.status is JobStatus.ASSIGNED:  # some runners never say that they begin
            start = StartJob(job_id=job.id, attempt=job.attempt)
            await ctx.send(start, actor=runner_actor(job.runner_name or ""))
        if (
            await ctx.collection("artifacts").count_documents(
                {"job_id": job.id, "gone": False}, limit=MAX_ARTIFACTS_PER_JOB
            )
            >= MAX_ARTIFACTS_PER_JOB
        ):
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
        """Looks before and after: a piece that came while all was cleared away is no use, and is cleared away later."""
        uploads, id_ = ctx.collection("artifacts"), command.artifact_id
        end = command.offset + len(command.content)
        if end > _max_bytes(ctx):
            raise RequestRejected("ARTIFACT_TOO_LARGE", f"An artifact has at most {_max_bytes(ctx)} bytes.")
        here = {"_id": id_, "recorded": False, "gone": False, "length": {"$gte": command.offset}}
        if await uploads.find_one_and_update(here, {"$set": {"touched_at": ctx.clock.database_time()}}) is None:
            raise RequestRejected("JOB_TOKEN", "This upload was given up.")
        await self._blobs(ctx.settings).write(ctx, id_, command.offset, command.content)
        if await uploads.find_one_and_update(here, {"$max": {"length": end}}) is None:
            raise RequestRejected("JOB_TOKEN", "This upload was given up.")
        return ArtifactUpload(artifact_id=id_, length=end, longest=_max_bytes(ctx))

    async def finish_upload(self, ctx: Context, command: FinishArtifactUpload) -> Artifact:
        """Recorded before it is marked as recorded; a crash between the two is found by `look_after`."""
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
        known = {"$set": {"touched_at": ctx.clock.database_time(), "expire_at": artifact.expire_at}}
        if await uploads.find_one_and_update(complete, known) is None:
            raise RequestRejected("ARTIFACT_INCOMPLETE")
        record = RecordArtifact(job_id=job.id, attempt=job.attempt, artifact=artifact)
        try:
            await ctx.send(record, step=id_, actor=runner_actor(job.runner_name or ""))
        except RequestRejected as refused:
            if refused.code not in ("JOB_STATUS", "JOB_NOT_FOUND"):
                raise
            raise RequestRejected("JOB_TOKEN") from None  # the job ended in this very moment
        await uploads.update_one({"_id": id_}, {"$set": {"recorded": True}})
        return artifact

    async def discard_upload(self, ctx: Context, command: DiscardArtifactUpload) -> ArtifactUpload:
        await self._purge(ctx, {"_id": command.artifact_id, "recorded": False})
        return ArtifactUpload(artifact_id=command.artifact_id, longest=_max_bytes(ctx))

    # ---- down

    async def get_artifact(self, ctx: Context, query: GetArtifact) -> Artifact:
        job: JobRow | None = await ctx.read_model("job").get(f"job-{query.job_id}")
        if job is None or not await _may_read(ctx, job, query.token):
            raise RequestRejected("JOB_TOKEN")
        for artifact in job.artifacts:
            if artifact.artifact_type == ARCHIVE_TYPE and not is_expired(artifact, ctx.clock.database_time()):
                return artifact
        raise RequestRejected("ARTIFACT_NOT_FOUND")

    async def read_artifact(self, ctx: Context, query: GetArtifactChunk) -> bytes:
        piece = await self._blobs(ctx.settings).read(ctx, query.artifact_id, query.offset)
        if piece is None:
            raise RequestRejected("ARTIFACT_NOT_FOUND")
        return piece

    # ---- away

    async def purge(self, ctx: Context, recorded: RecordedEvent[ArtifactRemoved | JobDeleted]) -> None:
        """The work after an artifact, or all of a job, was removed."""
        match recorded.event:
            case ArtifactRemoved(artifact_id=artifact_id):
                await self._purge(ctx, {"_id": artifact_id})
            case JobDeleted(job_id=job_id):
                await self._purge(ctx, {"job_id": job_id})

    async def expire_artifacts(self, ctx: Context) -> None:
        """Remove what has expired, and what came to nothing."""
        uploads, now = ctx.collection("artifacts"), ctx.clock.database_time()
        expired = {"gone": False, "recorded": True, "expire_at": {"$lte": now}}
        async for one in uploads.find(expired, limit=BATCH_SIZE):
            remove = RemoveArtifact(job_id=one["job_id"], artifact_id=one["_id"], reason="expired")
            try:
                await ctx.send(remove, step=one["_id"])
            except RequestRejected as refused:
                if refused.code != "JOB_NOT_FOUND":
                    raise
            await self._purge(ctx, {"_id": one["_id"]})
        idle = {"recorded": False, "touched_at": {"$lt": now - UPLOAD_IDLE_TIMEOUT}}
        async for one in uploads.find(idle, limit=BATCH_SIZE):
            await self._reconcile(ctx, one)

    async def _reconcile(self, ctx: Context, upload: dict[str, Any]) -> None:
        """It was recorded after all; or it is cleared away, and an hour later once more, for pieces that came late."""
        job: JobRow | None = await ctx.read_model("job").get(f"job-{upload['job_id']}")
        same_one = {"_id": upload["_id"], "touched_at": upload["touched_at"]}
        if job is not None and any(one.id == upload["_id"] for one in job.artifacts):
            await ctx.collection("artifacts").update_one(same_one, {"$set": {"recorded": True}})
        elif not upload["gone"]:
            await self._purge(ctx, same_one)
        else:
            await self._blobs(ctx.settings).remove(ctx, [upload["_id"]])
            await ctx.collection("artifacts").delete_one(same_one)

    async def _purge(self, ctx: Context, query: dict[str, Any]) -> None:
        """First nothing more is taken, then the bytes go; the document goes once nothing can be on its way any more."""
        uploads = ctx.collection("artifacts")
        found = {"_id": {"$in": [one["_id"] async for one in uploads.find(query, {"_id": 1})]}}
        gone = {"gone": True, "recorded": False, "touched_at": ctx.clock.database_time()}
        await uploads.update_many({"$and": [query, found]}, {"$set": gone})
        await self._blobs(ctx.settings).remove(
            ctx, [one["_id"] async for one in uploads.find({**found, "gone": True}, {"_id": 1})]
        )


def _max_bytes(ctx: Context) -> int:
    return ctx.settings.artifact_megabytes * 1024 * 1024


async def _authorize_upload(ctx: Context, job_id: int, token: str) -> JobRow:
    """The job that the token speaks for, as long as it is not over."""
    job: JobRow | None = await ctx.read_model("job").get(f"job-{job_id}")
    if (
        job is None
        or not job.token_hash
        or not constant_time_equals(job.token_hash, hash_token(token))
        or job.status in FINISHED_JOB_STATUSES
    ):
        raise RequestRejected("JOB_TOKEN")
    return job


async def _may_read(ctx: Context, job: JobRow, token: str) -> bool:
    """With its own token also when it is over; with that of another job of its build while that one runs."""
    hashed = hash_token(token)
    if job.token_hash and constant_time_equals(job.token_hash, hashed):
        return True
    attempt = await ctx.collection("attempts").find_one({"_id": hashed, "build_id": job.build_id}, {"job_id": 1})
    if attempt is None:
        return False
    reader: JobRow | None = await ctx.read_model("job").get(f"job-{attempt['job_id']}")
    return (
        reader is not None
        and constant_time_equals(reader.token_hash, hashed)
        and reader.status not in FINISHED_JOB_STATUSES
    )


def _requested_expiry(job: JobRow, command: FinishArtifactUpload) -> str:
    """Not every runner repeats what its job says."""
    wished = job.planned.artifacts if job.planned else None
    return (wished.expire_in or "") if wished and command.artifact_type == ARCHIVE_TYPE else ""


def is_expired(artifact: Artifact, now: datetime) -> bool:
    return artifact.expire_at is not None and artifact.expire_at <= now


def parse_expiry(text: str, now: datetime) -> datetime | None:
    """When an artifact that is to live so long expires; None for never."""
    wanted = text.strip()
    if not wanted:
        return now + DEFAULT_EXPIRY
    if wanted.lower() == "never":
        return None
    length = _parse_iso_8601(wanted.upper()) if ISO_8601_DURATION.fullmatch(wanted.upper()) else parse_duration(wanted)
    if length is None:
        raise RequestRejected("ARTIFACT_EXPIRE_IN_INVALID")
    return now + min(timedelta(seconds=min(length, MAX_EXPIRY.total_seconds())), MAX_EXPIRY)


def _parse_iso_8601(text: str) -> int | None:
    try:
        return int(TypeAdapter(timedelta).validate_python(text).total_seconds())
    except (ValidationError, OverflowError):
        return None
