"""Attempts of jobs: the lease of each attempt, the values to mask in its log, and the log as it arrives.

The id of an attempt is the hash of its job token. Log bytes are not events: they arrive by offset and secrets are
masked before anything is stored. Bytes that may be part of a secret or a section marker are kept encrypted until the
next chunk arrives.

Leases and times of arrival use the database's clock, because the clock of the replica that receives a report may differ
from that of the replica that looks for expired leases.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cachetools import LRUCache
from pymongo.asynchronous.client_session import AsyncClientSession

from contracts.builds import JobRow, PlannedStep, Section
from contracts.errors import RequestRejected
from libs.eventstore.decider import NewDocument
from libs.section_markers import incomplete_marker_length
from libs.security.masking import SecretMasker
from libs.service.declaration import Context
from services.builds.logs.log_masking import (
    LogMaskers,
    decrypt_log_text,
    encrypt_log_text,
    encrypt_masked_values,
)
from services.builds.logs.log_sections import INIT_SECTION, SplitLog, close_section, split_sections

MAX_TRACKED_EXTENSIONS = 256  # attempts whose last lease extension is remembered
MAX_LOG_BYTES = 32 * 1024 * 1024  # a longer log is truncated, because a script can write without end
TRUNCATION_NOTICE = "\nThe log is longer than {} bytes; the rest is not kept.\n"


@dataclass(frozen=True, slots=True)
class Attempt:
    id: str  # hash of the job token
    job_id: int
    number: int
    nonce: str  # part of the section names in its markers, so that scripts cannot forge markers
    length: int  # bytes received
    crc: int  # CRC-32 of the bytes received
    tail: bytes  # bytes received but not in the log yet: they may be part of a secret or a section marker
    finished: bool
    sections: tuple[Section, ...]
    runner_start_ms: int | None  # when the job started, in milliseconds of the runner's clock
    line_counts: tuple[int, ...]  # number of complete lines of each section
    masker: SecretMasker

    def continue_log(self, offset: int, content: bytes) -> bytes:
        """Return the bytes at an offset that are new: none if they were sent before. Raises LOG_RANGE."""
        if self.length not in (offset, offset + len(content)):
            raise RequestRejected("LOG_RANGE", str(self.length))
        return content[self.length - offset :]


class AttemptStore:
    def __init__(self) -> None:
        self._maskers = LogMaskers()
        # attempt id -> monotonic time of its last extension
        self._lease_extended_at: LRUCache[str, float] = LRUCache(MAX_TRACKED_EXTENSIONS)

    async def new_document(
        self, ctx: Context, attempt_id: str, job: JobRow, nonce: str, masked_values: Sequence[str]
    ) -> NewDocument:
        """Return the document of a new attempt with a full lease. It is inserted with the assignment of the job.

        The assignment is rejected with CONFLICT if the claim was returned, or handled already.
        """
        now = ctx.clock.database_time()
        self._lease_extended_at[attempt_id] = ctx.clock.monotonic()
        document = {
            "_id": attempt_id,
            "job_id": job.id,
            "build_id": job.build_id,
            "number": job.attempt,
            "word": nonce,
            "opened_at": now,
            "lease_until": _lease_deadline(ctx),
            "length": 0,
            "crc": 0,
            "tail": "",
            "finished": False,
            "sections": [Section(step=INIT_SECTION, start_at=now).model_dump()],
            "lines": [0],
            "masks": await encrypt_masked_values(ctx, job.project_id, masked_values),
        }
        return NewDocument("attempts", document, "CONFLICT")

    async def reissue(self, ctx: Context, attempt_id: str, job: JobRow, masked_values: Sequence[str]) -> str:
        """Renew an attempt whose assignment is delivered again, with current secrets.

        Return its nonce. Raises CONFLICT if the attempt does not exist.
        """
        masks = await encrypt_masked_values(ctx, job.project_id, masked_values)
        change = {"$set": {"masks": masks}, "$max": {"lease_until": _lease_deadline(ctx)}}
        found = await ctx.collection("attempts").find_one_and_update({"_id": attempt_id}, change)
        if found is None:
            raise RequestRejected("CONFLICT")
        self._maskers.discard(attempt_id)
        return str(found["word"])

    async def job_of(self, ctx: Context, attempt_id: str) -> int | None:
        """Return the id of the attempt's job: 0 if the attempt is blocked, None if it does not exist."""
        found = await ctx.collection("attempts").find_one({"_id": attempt_id}, {"job_id": 1})
        return int(found["job_id"]) if found else None

    async def block_claim(self, ctx: Context, attempt_id: str) -> int:
        """For one lease period, prevent the attempt from being created.

        Return the id of the attempt's job if the attempt exists already, else 0.
        """
        barred = {"job_id": 0, "finished": False, "lease_until": _lease_deadline(ctx)}
        found = await ctx.collection("attempts").find_one_and_update(
            {"_id": attempt_id}, {"$setOnInsert": barred}, {"job_id": 1}, upsert=True
        )
        return int(found["job_id"]) if found else 0

    async def discard(self, ctx: Context, attempt_id: str) -> None:
        await ctx.collection("attempts").delete_one({"_id": attempt_id})

    async def delete_attempts_of_job(self, ctx: Context, job_id: int) -> None:
        """Delete all attempts of a job with their logs."""
        attempts, of_job = ctx.collection("attempts"), {"job_id": job_id}
        await attempts.update_many(of_job, {"$set": {"finished": True}})  # from now on no chunk is appended
        ids = [attempt["_id"] async for attempt in attempts.find(of_job, {"_id": 1})]
        await ctx.collection("log_chunks").delete_many({"attempt": {"$in": ids}})
        await attempts.delete_many(of_job)

    async def get(self, ctx: Context, job: JobRow) -> Attempt:
        """Return the current attempt of a job. Raises JOB_TOKEN if it does not exist."""
        found = await ctx.collection("attempts").find_one({"_id": job.token_hash})
        if found is None:
            raise RequestRejected("JOB_TOKEN")
        tail = await decrypt_log_text(ctx, job.project_id, found["tail"])
        return Attempt(
            id=found["_id"],
            job_id=found["job_id"],
            number=found["number"],
            nonce=found["word"],
            length=found["length"],
            crc=found["crc"],
            tail=tail.encode("latin-1"),
            finished=found["finished"],
            sections=tuple(Section.model_validate(section) for section in found["sections"]),
            runner_start_ms=found.get("began"),
            line_counts=tuple(found["lines"]),
            masker=await self._maskers.get(ctx, job.project_id, found["_id"], found["masks"], found["word"]),
        )

    async def extend_lease(self, ctx: Context, attempt_id: str) -> None:
        """Extend the lease of an attempt. Each process writes at most once per quarter of a lease period."""
        last = self._lease_extended_at.get(attempt_id)
        if last is not None and ctx.clock.monotonic() - last < ctx.settings.job_lease_seconds / 4:
            return
        # $max never shortens the lease: a process that was paused may have an outdated database time
        await ctx.collection("attempts").update_one(
            {"_id": attempt_id}, {"$max": {"lease_until": _lease_deadline(ctx)}}
        )
        self._lease_extended_at[attempt_id] = ctx.clock.monotonic()

    async def append(
        self, ctx: Context, job: JobRow, attempt: Attempt, offset: int, content: bytes, steps: Sequence[PlannedStep]
    ) -> Attempt:
        """Append log bytes at an offset, mask secrets in them, and split them into sections.

        The previous chunk may be sent again. Raises LOG_RANGE with the expected offset as detail, or CONFLICT for a
        concurrent chunk. Bytes beyond the maximum size of a log are counted but not stored.
        """
        received = attempt.continue_log(offset, content)
        if not received or attempt.finished:
            return attempt
        if attempt.length >= MAX_LOG_BYTES:
            unchanged = SplitLog([], list(attempt.sections), attempt.runner_start_ms)
            return await self._store(ctx, job, attempt, unchanged, received, b"", finished=False)
        masked, rest = attempt.masker.apply(attempt.tail + received, final=False)
        end = len(masked) - incomplete_marker_length(masked)
        text, tail = masked[:end], masked[end:] + rest
        if attempt.length + len(received) >= MAX_LOG_BYTES:
            text, tail = text + TRUNCATION_NOTICE.format(MAX_LOG_BYTES).encode(), b""
        split = split_sections(
            text, attempt.sections, steps, attempt.nonce, ctx.clock.database_time(), attempt.runner_start_ms
        )
        return await self._store(ctx, job, attempt, split, received, tail, finished=False)

    async def finish(
        self,
        ctx: Context,
        job: JobRow,
        attempt: Attempt,
        steps: Sequence[PlannedStep],
        *,
        success: bool,
        received: bytes = b"",
    ) -> Attempt:
        """Complete the log: store the remaining bytes, close the last section and delete the values to mask.

        Raises CONFLICT for a concurrent chunk. Does nothing if the log is complete already.
        """
        if attempt.finished:
            return attempt
        rest = received if attempt.length < MAX_LOG_BYTES else b""
        masked, _ = attempt.masker.apply(attempt.tail + rest, final=True)
        now = ctx.clock.database_time()
        split = split_sections(masked, attempt.sections, steps, attempt.nonce, now, attempt.runner_start_ms)
        split.sections[-1] = close_section(split.sections[-1], steps, now, success=success)
        return await self._store(ctx, job, attempt, split, received, b"", finished=True)

    async def reset_log(self, ctx: Context, attempt: Attempt) -> None:
        """Discard the log received so far, after a wrong checksum. The runner sends it again from the first byte."""

        async def body(session: AsyncClientSession) -> None:
            await ctx.collection("attempts").update_one(
                {"_id": attempt.id, "finished": False},
                {
                    "$set": {
                        "length": 0,
                        "crc": 0,
                        "tail": "",
                        "sections": [attempt.sections[0].model_dump()],
                        "began": None,
                        "lines": [0],
                    }
                },
                session=session,
            )
            await ctx.collection("log_chunks").delete_many({"attempt": attempt.id}, session=session)

        async with ctx.collection("attempts").database.client.start_session() as session:
            await session.with_transaction(body)

    async def _store(
        self,
        ctx: Context,
        job: JobRow,
        attempt: Attempt,
        split: SplitLog,
        received: bytes,
        tail: bytes,
        *,
        finished: bool,
    ) -> Attempt:
        length = attempt.length + len(received)
        crc = zlib.crc32(received, attempt.crc)
        lines = [*attempt.line_counts, *([0] * (len(split.sections) - len(attempt.line_counts)))]
        chunks = []
        now = ctx.clock.database_time()
        for index, text in enumerate(split.texts):
            lines[text.section_index] += text.text.count(b"\n")
            key = {"attempt": attempt.id, "section": text.section_index, "offset": length, "place": index}
            chunks.append({**key, "lines": lines[text.section_index], "text": text.text, "at": now})
        change: dict[str, object] = {
            "length": length,
            "crc": crc,
            "tail": await encrypt_log_text(ctx, job.project_id, tail.decode("latin-1")),
            "finished": finished,
            "sections": [section.model_dump() for section in split.sections],
            "began": split.runner_start_ms,
            "lines": lines,
        }
        if finished:
            change["masks"] = ""

        async def body(session: AsyncClientSession | None) -> None:
            result = await ctx.collection("attempts").update_one(
                {"_id": attempt.id, "length": attempt.length, "finished": False},
                {"$set": change, "$max": {"lease_until": _lease_deadline(ctx)}},
                session=session,
            )
            if result.matched_count == 0:
                raise RequestRejected("CONFLICT", "another part of this log arrived at the same time")
            if chunks:
                await ctx.collection("log_chunks").insert_many([dict(chunk) for chunk in chunks], session=session)

        if chunks:
            async with ctx.collection("attempts").database.client.start_session() as session:
                await session.with_transaction(body)
        else:
            await body(None)
        self._lease_extended_at[attempt.id] = ctx.clock.monotonic()
        if finished:
            self._maskers.discard(attempt.id)
            self._lease_extended_at.pop(attempt.id, None)
        return replace(
            attempt,
            length=length,
            crc=crc,
            tail=tail,
            finished=finished,
            sections=tuple(split.sections),
            runner_start_ms=split.runner_start_ms,
            line_counts=tuple(lines),
        )


def _lease_deadline(ctx: Context) -> datetime:
    return ctx.clock.database_time() + timedelta(seconds=ctx.settings.job_lease_seconds)
