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
    ARCHIVE,
    FINISHED_JOB,
    AppendArtifact,
    Artifact,
    ArtifactRemoved,
    ArtifactUpload,
    BeginArtifact,
    DiscardArtifact,
    FinishArtifact,
    GetArtifact,
    JobDeleted,
    JobRow,
    JobStatus,
    ReadArtifact,
    RecordArtifact,
    RemoveArtifact,
    StartJob,
)
from contracts.errors import Refused
from libs.deciding import Recorded, runner_called
from libs.security.tokens import same, token_hash
from libs.service import Context
from libs.settings import Settings
from services.builds.files import Files
from services.builds.pipeline.durations import seconds

USUAL = timedelta(days=30)  # GitLab's, where the job says nothing
LONGEST = timedelta(days=365 * 100)
IDLE = timedelta(hours=1)  # an upload that nobody goes on with
AT_ONCE = 100
MOST = 50  # of one job, with those under way
ISO_8601 = re.compile(r"P[0-9YMWDTHS.]+")


class Artifacts:
    def __init__(self, files: Callable[[Settings], Files]) -> None:
        self._files = cache(files)

    # ---- up

    async def begin(self, ctx: Context, command: BeginArtifact) -> ArtifactUpload:
        job = await _working(ctx, command.job_id, command.token)
        if job.status is JobStatus.ASSIGNED:  # some runners never say that they begin
            start = StartJob(job_id=job.id, attempt=job.attempt)
            await ctx.tell(start, actor=runner_called(job.runner_name or ""))
        if await ctx.collection("artifacts").count_documents({"job_id": job.id, "gone": False}, limit=MOST) >= MOST:
            raise Refused("ARTIFACT_TOO_MANY")
        upload = ArtifactUpload(artifact_id=str(uuid4()), longest=_longest(ctx))
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

    async def append(self, ctx: Context, command: AppendArtifact) -> ArtifactUpload:
        """Looks before and after: a piece that came while all was cleared away is no use, and is cleared away later."""
        uploads, id_ = ctx.collection("artifacts"), command.artifact_id
        end = command.offset + len(command.content)
        if end > _longest(ctx):
            raise Refused("ARTIFACT_TOO_LARGE", f"An artifact has at most {_longest(ctx)} bytes.")
        here = {"_id": id_, "recorded": False, "gone": False, "length": {"$gte": command.offset}}
        if await uploads.find_one_and_update(here, {"$set": {"touched_at": ctx.clock.database_time()}}) is None:
            raise Refused("JOB_TOKEN", "This upload was given up.")
        await self._files(ctx.settings).write(ctx, id_, command.offset, command.content)
        if await uploads.find_one_and_update(here, {"$max": {"length": end}}) is None:
            raise Refused("JOB_TOKEN", "This upload was given up.")
        return ArtifactUpload(artifact_id=id_, length=end, longest=_longest(ctx))

    async def finish(self, ctx: Context, command: FinishArtifact) -> Artifact:
        """Recorded before it is marked as recorded; a crash between the two is found by `look_after`."""
        job = await _working(ctx, command.job_id, command.token)
        uploads, id_ = ctx.collection("artifacts"), command.artifact_id
        artifact = Artifact(
            id=id_,
            artifact_type=command.artifact_type,
            artifact_format=command.artifact_format,
            file_name=command.file_name,
            size=command.size,
            uploaded_at=ctx.cause.at,
            expire_at=expiry(command.expire_in or _wished(job, command), ctx.clock.database_time()),
        )
        complete = {"_id": id_, "job_id": job.id, "length": command.size, "gone": False}
        known = {"$set": {"touched_at": ctx.clock.database_time(), "expire_at": artifact.expire_at}}
        if await uploads.find_one_and_update(complete, known) is None:
            raise Refused("ARTIFACT_INCOMPLETE")
        record = RecordArtifact(job_id=job.id, attempt=job.attempt, artifact=artifact)
        try:
            await ctx.tell(record, step=id_, actor=runner_called(job.runner_name or ""))
        except Refused as refused:
            if refused.code not in ("JOB_STATUS", "JOB_NOT_FOUND"):
                raise
            raise Refused("JOB_TOKEN") from None  # the job ended in this very moment
        await uploads.update_one({"_id": id_}, {"$set": {"recorded": True}})
        return artifact

    async def discard(self, ctx: Context, command: DiscardArtifact) -> ArtifactUpload:
        await self._clear(ctx, {"_id": command.artifact_id, "recorded": False})
        return ArtifactUpload(artifact_id=command.artifact_id, longest=_longest(ctx))

    # ---- down

    async def get(self, ctx: Context, query: GetArtifact) -> Artifact:
        job: JobRow | None = await ctx.rows("job").get(f"job-{query.job_id}")
        if job is None or not await _may_read(ctx, job, query.token):
            raise Refused("JOB_TOKEN")
        for artifact in job.artifacts:
            if artifact.artifact_type == ARCHIVE and not expired(artifact, ctx.clock.database_time()):
                return artifact
        raise Refused("ARTIFACT_NOT_FOUND")

    async def read(self, ctx: Context, query: ReadArtifact) -> bytes:
        piece = await self._files(ctx.settings).read(ctx, query.artifact_id, query.offset)
        if piece is None:
            raise Refused("ARTIFACT_NOT_FOUND")
        return piece

    # ---- away

    async def clear(self, ctx: Context, recorded: Recorded[ArtifactRemoved | JobDeleted]) -> None:
        """The work after an artifact, or all of a job, was removed."""
        match recorded.event:
            case ArtifactRemoved(artifact_id=artifact_id):
                await self._clear(ctx, {"_id": artifact_id})
            case JobDeleted(job_id=job_id):
                await self._clear(ctx, {"job_id": job_id})

    async def look_after(self, ctx: Context) -> None:
        """Remove what has expired, and what came to nothing."""
        uploads, now = ctx.collection("artifacts"), ctx.clock.database_time()
        expired = {"gone": False, "recorded": True, "expire_at": {"$lte": now}}
        async for one in uploads.find(expired, limit=AT_ONCE):
            remove = RemoveArtifact(job_id=one["job_id"], artifact_id=one["_id"], reason="expired")
            try:
                await ctx.tell(remove, step=one["_id"])
            except Refused as refused:
                if refused.code != "JOB_NOT_FOUND":
                    raise
            await self._clear(ctx, {"_id": one["_id"]})
        idle = {"recorded": False, "touched_at": {"$lt": now - IDLE}}
        async for one in uploads.find(idle, limit=AT_ONCE):
            await self._settle(ctx, one)

    async def _settle(self, ctx: Context, upload: dict[str, Any]) -> None:
        """It was recorded after all; or it is cleared away, and an hour later once more, for pieces that came late."""
        job: JobRow | None = await ctx.rows("job").get(f"job-{upload['job_id']}")
        same_one = {"_id": upload["_id"], "touched_at": upload["touched_at"]}
        if job is not None and any(one.id == upload["_id"] for one in job.artifacts):
            await ctx.collection("artifacts").update_one(same_one, {"$set": {"recorded": True}})
        elif not upload["gone"]:
            await self._clear(ctx, same_one)
        else:
            await self._files(ctx.settings).remove(ctx, [upload["_id"]])
            await ctx.collection("artifacts").delete_one(same_one)

    async def _clear(self, ctx: Context, which: dict[str, Any]) -> None:
        """First nothing more is taken, then the bytes go; the document goes once nothing can be on its way any more."""
        uploads = ctx.collection("artifacts")
        found = {"_id": {"$in": [one["_id"] async for one in uploads.find(which, {"_id": 1})]}}
        gone = {"gone": True, "recorded": False, "touched_at": ctx.clock.database_time()}
        await uploads.update_many({"$and": [which, found]}, {"$set": gone})
        await self._files(ctx.settings).remove(
            ctx, [one["_id"] async for one in uploads.find({**found, "gone": True}, {"_id": 1})]
        )


def _longest(ctx: Context) -> int:
    return ctx.settings.artifact_megabytes * 1024 * 1024


async def _working(ctx: Context, job_id: int, token: str) -> JobRow:
    """The job that the token speaks for, as long as it is not over."""
    job: JobRow | None = await ctx.rows("job").get(f"job-{job_id}")
    if job is None or not job.token_hash or not same(job.token_hash, token_hash(token)) or job.status in FINISHED_JOB:
        raise Refused("JOB_TOKEN")
    return job


async def _may_read(ctx: Context, job: JobRow, token: str) -> bool:
    """With its own token also when it is over; with that of another job of its build while that one runs."""
    hashed = token_hash(token)
    if job.token_hash and same(job.token_hash, hashed):
        return True
    attempt = await ctx.collection("attempts").find_one({"_id": hashed, "build_id": job.build_id}, {"job_id": 1})
    if attempt is None:
        return False
    reader: JobRow | None = await ctx.rows("job").get(f"job-{attempt['job_id']}")
    return reader is not None and same(reader.token_hash, hashed) and reader.status not in FINISHED_JOB


def _wished(job: JobRow, command: FinishArtifact) -> str:
    """Not every runner repeats what its job says."""
    wished = job.planned.artifacts if job.planned else None
    return (wished.expire_in or "") if wished and command.artifact_type == ARCHIVE else ""


def expired(artifact: Artifact, now: datetime) -> bool:
    return artifact.expire_at is not None and artifact.expire_at <= now


def expiry(text: str, now: datetime) -> datetime | None:
    """When an artifact that is to live so long expires; None for never."""
    wanted = text.strip()
    if not wanted:
        return now + USUAL
    if wanted.lower() == "never":
        return None
    length = _iso_8601(wanted.upper()) if ISO_8601.fullmatch(wanted.upper()) else seconds(wanted)
    if length is None:
        raise Refused("ARTIFACT_EXPIRE_IN_INVALID")
    return now + min(timedelta(seconds=min(length, LONGEST.total_seconds())), LONGEST)


def _iso_8601(text: str) -> int | None:
    try:
        return int(TypeAdapter(timedelta).validate_python(text).total_seconds())
    except (ValidationError, OverflowError):
        return None
