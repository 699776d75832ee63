"""One attempt of a job at a runner: its lease, what its log hides, and the log itself as it arrives.

An attempt is found by the hash of its job token. The log is no event: its bytes arrive by offset, secrets are covered
before anything is stored, and what may be half a secret or half a marker waits, sealed, for the next piece.

Its times are those of the database's clock: the replica that gets a report and the one that looks for silent runners
need not agree on the time.
"""

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from pymongo.asynchronous.client_session import AsyncClientSession

from contracts.builds import JobRow, PlannedStep, Section
from contracts.errors import RequestRejected
from libs.section_markers import incomplete_marker_length
from libs.security.masking import SecretMasker
from libs.service.declaration import Context
from services.builds.logs import log_sections
from services.builds.logs.log_sections import SplitLog, close_section

Document = dict[str, Any]
MAX_CACHED_ATTEMPTS = 256  # attempts whose masks this process has at hand
MAX_LOG_BYTES = 32 * 1024 * 1024  # bytes of a log that are kept; a script can send without end, in its runner's name
TRUNCATION_NOTICE = "\nThe log is longer than {} bytes; the rest is not kept.\n"


@dataclass(frozen=True, slots=True)
class Attempt:
    id: str  # hash of the job token
    job_id: int
    number: int
    nonce: str  # in the names of its section markers
    length: int  # bytes received
    crc: int  # of the bytes received
    tail: bytes  # received, not yet stored
    finished: bool
    sections: tuple[Section, ...]
    runner_start_ms: int | None  # when the job began, in milliseconds by its runner's clock
    line_counts: tuple[int, ...]  # that have ended, of each section
    masker: SecretMasker


class AttemptStore:
    def __init__(self) -> None:
        self._maskers: dict[str, SecretMasker] = {}
        self._lease_extended_at: dict[str, float] = {}  # by the monotonic clock

    async def create(
        self, ctx: Context, attempt_id: str, job: JobRow, nonce: str, masked_values: Sequence[str]
    ) -> None:
        """Beside the assignment; an assigned job without an attempt is lost after the time of a lease."""
        now = ctx.clock.database_time()
        await ctx.collection("attempts").insert_one(
            {
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
                "sections": [Section(step=log_sections.INIT_SECTION, start_at=now).model_dump()],
                "lines": [0],
                "masks": await self._encrypt_values(ctx, job, masked_values),
            }
        )
        self._remember_extension(ctx, attempt_id)

    async def reissue(self, ctx: Context, attempt_id: str, job: JobRow, masked_values: Sequence[str]) -> str:
        """It is given to its runner once more, with secrets that may be other ones by now. Answers its word."""
        masks = await self._encrypt_values(ctx, job, masked_values)
        change = {"$set": {"masks": masks}, "$max": {"lease_until": _lease_deadline(ctx)}}
        found = await ctx.collection("attempts").find_one_and_update({"_id": attempt_id}, change)
        if found is None:
            raise RequestRejected("CONFLICT")
        self._maskers.pop(attempt_id, None)
        return str(found["word"])

    async def job_of(self, ctx: Context, attempt_id: str) -> int | None:
        """The job of this attempt; 0 if it is none any more."""
        found = await ctx.collection("attempts").find_one({"_id": attempt_id}, {"job_id": 1})
        return found and int(found["job_id"])

    async def block_claim(self, ctx: Context, attempt_id: str) -> int:
        """Nobody opens it for the time of a lease. Answers the job of one that is open already, or else 0."""
        barred = {"job_id": 0, "finished": False, "lease_until": _lease_deadline(ctx)}
        found = await ctx.collection("attempts").find_one_and_update(
            {"_id": attempt_id}, {"$setOnInsert": barred}, {"job_id": 1}, upsert=True
        )
        return int(found["job_id"]) if found else 0

    async def discard(self, ctx: Context, attempt_id: str) -> None:
        """The job went to somebody else."""
        await ctx.collection("attempts").delete_one({"_id": attempt_id})

    async def delete_attempts_of_job(self, ctx: Context, job_id: int) -> None:
        """All attempts of a job that was deleted, with their logs."""
        attempts, theirs = ctx.collection("attempts"), {"job_id": job_id}
        await attempts.update_many(theirs, {"$set": {"finished": True}})  # from here on no piece is added
        found = [one["_id"] async for one in attempts.find(theirs, {"_id": 1})]
        await ctx.collection("log_chunks").delete_many({"attempt": {"$in": found}})
        await attempts.delete_many(theirs)

    async def duration_ms_of_jobs(self, ctx: Context, job_ids: Sequence[int]) -> int:
        """Return how long the sections of the last attempts of these jobs took, or have taken so far."""
        return await self._sum_duration_ms(ctx, {"job_id": {"$in": list(job_ids)}})

    async def duration_ms_of_build(self, ctx: Context, build_id: int) -> int:
        return await self._sum_duration_ms(ctx, {"build_id": build_id})

    async def _sum_duration_ms(self, ctx: Context, wanted: Document) -> int:
        last = {
            one["job_id"]: one["sections"]
            async for one in ctx.collection("attempts").find(wanted, sort=[("number", 1)])
        }
        found = [Section.model_validate(one) for sections in last.values() for one in sections]
        return sum(_section_duration_ms(one, ctx.clock.database_time()) for one in found)

    async def get(self, ctx: Context, job: JobRow) -> Attempt:
        found = await ctx.collection("attempts").find_one({"_id": job.token_hash})
        if found is None:
            raise RequestRejected("JOB_TOKEN")
        tail = await ctx.vault.decrypt(log_key_name(job.project_id), found["tail"]) if found["tail"] else ""
        return Attempt(
            id=found["_id"],
            job_id=found["job_id"],
            number=found["number"],
            nonce=found["word"],
            length=found["length"],
            crc=found["crc"],
            tail=tail.encode("latin-1"),
            finished=found["finished"],
            sections=tuple(Section.model_validate(one) for one in found["sections"]),
            runner_start_ms=found.get("began"),
            line_counts=tuple(found["lines"]),
            masker=await self._get_masker(ctx, job, found),
        )

    async def extend_lease(self, ctx: Context, attempt_id: str) -> None:
        """A sign of life of the job; written once in a while only."""
        last = self._lease_extended_at.get(attempt_id)
        if last is not None and ctx.clock.monotonic() - last < ctx.settings.job_lease_seconds / 4:
            return
        # never shortened: a process that was paused may have an old reading of the time
        await ctx.collection("attempts").update_one(
            {"_id": attempt_id}, {"$max": {"lease_until": _lease_deadline(ctx)}}
        )
        self._remember_extension(ctx, attempt_id)

    async def append(
        self, ctx: Context, job: JobRow, attempt: Attempt, offset: int, content: bytes, steps: Sequence[PlannedStep]
    ) -> Attempt:
        """Store the content; too much is counted only. The last piece may be told again; others are LOG_RANGE."""
        if attempt.length not in (offset, offset + len(content)):
            raise RequestRejected("LOG_RANGE", str(attempt.length))
        new = content[attempt.length - offset :]
        if not new or attempt.finished:
            return attempt
        if attempt.length >= MAX_LOG_BYTES:
            return await self._store(
                ctx,
                job,
                attempt,
                SplitLog([], list(attempt.sections), attempt.runner_start_ms),
                new,
                b"",
                finished=False,
            )
        masked, rest = attempt.masker.apply(attempt.tail + new, final=False)
        waiting = incomplete_marker_length(masked)
        text, tail = masked[: len(masked) - waiting], masked[len(masked) - waiting :] + rest
        if attempt.length + len(new) >= MAX_LOG_BYTES:
            text, tail = text + TRUNCATION_NOTICE.format(MAX_LOG_BYTES).encode(), b""
        cut = log_sections.split_sections(
            text, attempt.sections, steps, attempt.nonce, ctx.clock.database_time(), attempt.runner_start_ms
        )
        return await self._store(ctx, job, attempt, cut, new, tail, finished=False)

    async def finish(
        self, ctx: Context, job: JobRow, attempt: Attempt, steps: Sequence[PlannedStep], *, success: bool
    ) -> Attempt:
        """The log is complete: store what waited, conclude the last section, forget the masks."""
        if attempt.finished:
            return attempt
        masked, _ = attempt.masker.apply(attempt.tail, final=True)
        now = ctx.clock.database_time()
        cut = log_sections.split_sections(masked, attempt.sections, steps, attempt.nonce, now, attempt.runner_start_ms)
        cut.sections[-1] = close_section(cut.sections[-1], steps, now, success=success)
        return await self._store(ctx, job, attempt, cut, b"", b"", finished=True)

    async def reset_log(self, ctx: Context, attempt: Attempt) -> None:
        """The log that arrived is not the one that was sent: the runner sends it again from its first byte."""

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
        cut: SplitLog,
        new: bytes,
        tail: bytes,
        *,
        finished: bool,
    ) -> Attempt:
        length = attempt.length + len(new)
        crc = zlib.crc32(new, attempt.crc)
        lines = [*attempt.line_counts, *([0] * (len(cut.sections) - len(attempt.line_counts)))]
        chunks = []
        for place, piece in enumerate(cut.pieces):
            lines[piece.section_index] += piece.text.count(b"\n")
            where = {"attempt": attempt.id, "section": piece.section_index, "offset": length, "place": place}
            chunks.append({**where, "lines": lines[piece.section_index], "text": piece.text})
        change: Document = {
            "length": length,
            "crc": crc,
            "tail": await ctx.vault.encrypt(log_key_name(job.project_id), tail.decode("latin-1")) if tail else "",
            "finished": finished,
            "sections": [section.model_dump() for section in cut.sections],
            "began": cut.runner_start_ms,
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
                raise RequestRejected("CONFLICT", "another piece of this log arrived at the same time")
            if chunks:
                await ctx.collection("log_chunks").insert_many([dict(one) for one in chunks], session=session)

        if chunks:
            async with ctx.collection("attempts").database.client.start_session() as session:
                await session.with_transaction(body)
        else:
            await body(None)
        self._remember_extension(ctx, attempt.id)
        if finished:
            self._maskers.pop(attempt.id, None)
            self._lease_extended_at.pop(attempt.id, None)
        return replace(
            attempt,
            length=length,
            crc=crc,
            tail=tail,
            finished=finished,
            sections=tuple(cut.sections),
            runner_start_ms=cut.runner_start_ms,
            line_counts=tuple(lines),
        )

    async def _encrypt_values(self, ctx: Context, job: JobRow, masked_values: Sequence[str]) -> str:
        return (
            await ctx.vault.encrypt(log_key_name(job.project_id), json.dumps(list(masked_values)))
            if masked_values
            else ""
        )

    async def _get_masker(self, ctx: Context, job: JobRow, found: Document) -> SecretMasker:
        known = self._maskers.get(found["_id"])
        if known is None:
            sealed = found["masks"]
            values = json.loads(await ctx.vault.decrypt(log_key_name(job.project_id), sealed)) if sealed else []
            known = SecretMasker(values, [found["word"]])
            if len(self._maskers) >= MAX_CACHED_ATTEMPTS:
                self._maskers.pop(next(iter(self._maskers)))
            self._maskers[found["_id"]] = known
        return known

    def _remember_extension(self, ctx: Context, attempt_id: str) -> None:
        if len(self._lease_extended_at) >= MAX_CACHED_ATTEMPTS:
            self._lease_extended_at.pop(next(iter(self._lease_extended_at)))
        self._lease_extended_at[attempt_id] = ctx.clock.monotonic()


def _lease_deadline(ctx: Context) -> datetime:
    return ctx.clock.database_time() + timedelta(seconds=ctx.settings.job_lease_seconds)


def _section_duration_ms(section: Section, now: datetime) -> int:
    start = section.start_at or now
    return max((section.closed_at or now) - start, timedelta()) // timedelta(milliseconds=1)


def log_key_name(project_id: int) -> str:
    """Whose data key seals what must wait."""
    return f"logs-of-project-{project_id}"
