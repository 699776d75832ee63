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
from contracts.errors import Refused
from libs.markers import held_back
from libs.masking import Mask
from libs.service import Context
from services.builds import sections
from services.builds.sections import Cut, ended

Document = dict[str, Any]
KEPT = 256  # attempts whose masks this process has at hand
LARGEST = 32 * 1024 * 1024  # bytes of a log that are kept; a script can send without end, in its runner's name
TRUNCATED = "\nThe log is longer than {} bytes; the rest is not kept.\n"


@dataclass(frozen=True, slots=True)
class Attempt:
    id: str  # hash of the job token
    job_id: int
    number: int
    word: str  # in the names of its section markers
    length: int  # bytes received
    crc: int  # of the bytes received
    tail: bytes  # received, not yet stored
    finished: bool
    sections: tuple[Section, ...]
    began: int | None  # when the job began, in milliseconds by its runner's clock
    lines: tuple[int, ...]  # that have ended, of each section
    mask: Mask


class Attempts:
    def __init__(self) -> None:
        self._masks: dict[str, Mask] = {}
        self._renewed: dict[str, float] = {}  # by the monotonic clock

    async def open(self, ctx: Context, attempt_id: str, job: JobRow, word: str, hidden: Sequence[str]) -> None:
        """Beside the assignment; an assigned job without an attempt is lost after the time of a lease."""
        now = ctx.clock.database_time()
        await ctx.collection("attempts").insert_one(
            {
                "_id": attempt_id,
                "job_id": job.id,
                "build_id": job.build_id,
                "number": job.attempt,
                "word": word,
                "opened_at": now,
                "lease_until": _lease_until(ctx),
                "length": 0,
                "crc": 0,
                "tail": "",
                "finished": False,
                "sections": [Section(step=sections.INIT, start_at=now).model_dump()],
                "lines": [0],
                "masks": await self._sealed(ctx, job, hidden),
            }
        )
        self._remember_renewal(ctx, attempt_id)

    async def reopen(self, ctx: Context, attempt_id: str, job: JobRow, hidden: Sequence[str]) -> str:
        """It is given to its runner once more, with secrets that may be other ones by now. Answers its word."""
        masks = await self._sealed(ctx, job, hidden)
        change = {"$set": {"masks": masks}, "$max": {"lease_until": _lease_until(ctx)}}
        found = await ctx.collection("attempts").find_one_and_update({"_id": attempt_id}, change)
        if found is None:
            raise Refused("CONFLICT")
        self._masks.pop(attempt_id, None)
        return str(found["word"])

    async def taken(self, ctx: Context, attempt_id: str) -> int | None:
        """The job of this attempt; 0 if it is none any more."""
        found = await ctx.collection("attempts").find_one({"_id": attempt_id}, {"job_id": 1})
        return found and int(found["job_id"])

    async def bar(self, ctx: Context, attempt_id: str) -> int:
        """Nobody opens it for the time of a lease. Answers the job of one that is open already, or else 0."""
        barred = {"job_id": 0, "finished": False, "lease_until": _lease_until(ctx)}
        found = await ctx.collection("attempts").find_one_and_update(
            {"_id": attempt_id}, {"$setOnInsert": barred}, {"job_id": 1}, upsert=True
        )
        return int(found["job_id"]) if found else 0

    async def discard(self, ctx: Context, attempt_id: str) -> None:
        """The job went to somebody else."""
        await ctx.collection("attempts").delete_one({"_id": attempt_id})

    async def remove(self, ctx: Context, job_id: int) -> None:
        """All attempts of a job that was deleted, with their logs."""
        attempts, theirs = ctx.collection("attempts"), {"job_id": job_id}
        await attempts.update_many(theirs, {"$set": {"finished": True}})  # from here on no piece is added
        found = [one["_id"] async for one in attempts.find(theirs, {"_id": 1})]
        await ctx.collection("log_chunks").delete_many({"attempt": {"$in": found}})
        await attempts.delete_many(theirs)

    async def milliseconds(self, ctx: Context, job_ids: Sequence[int]) -> int:
        """Return how long the sections of the last attempts of these jobs took, or have taken so far."""
        return await self._milliseconds(ctx, {"job_id": {"$in": list(job_ids)}})

    async def milliseconds_of_build(self, ctx: Context, build_id: int) -> int:
        return await self._milliseconds(ctx, {"build_id": build_id})

    async def _milliseconds(self, ctx: Context, wanted: Document) -> int:
        last = {
            one["job_id"]: one["sections"]
            async for one in ctx.collection("attempts").find(wanted, sort=[("number", 1)])
        }
        found = [Section.model_validate(one) for sections in last.values() for one in sections]
        return sum(_milliseconds(one, ctx.clock.database_time()) for one in found)

    async def get(self, ctx: Context, job: JobRow) -> Attempt:
        found = await ctx.collection("attempts").find_one({"_id": job.token_hash})
        if found is None:
            raise Refused("JOB_TOKEN")
        tail = await ctx.vault.open(sealed_for(job.project_id), found["tail"]) if found["tail"] else ""
        return Attempt(
            id=found["_id"],
            job_id=found["job_id"],
            number=found["number"],
            word=found["word"],
            length=found["length"],
            crc=found["crc"],
            tail=tail.encode("latin-1"),
            finished=found["finished"],
            sections=tuple(Section.model_validate(one) for one in found["sections"]),
            began=found.get("began"),
            lines=tuple(found["lines"]),
            mask=await self._mask(ctx, job, found),
        )

    async def renew(self, ctx: Context, attempt_id: str) -> None:
        """A sign of life of the job; written once in a while only."""
        last = self._renewed.get(attempt_id)
        if last is not None and ctx.clock.monotonic() - last < ctx.settings.job_lease_seconds / 4:
            return
        # never shortened: a process that was paused may have an old reading of the time
        await ctx.collection("attempts").update_one({"_id": attempt_id}, {"$max": {"lease_until": _lease_until(ctx)}})
        self._remember_renewal(ctx, attempt_id)

    async def append(
        self, ctx: Context, job: JobRow, attempt: Attempt, offset: int, content: bytes, steps: Sequence[PlannedStep]
    ) -> Attempt:
        """Store the content; too much is counted only. The last piece may be told again; others are LOG_RANGE."""
        if attempt.length not in (offset, offset + len(content)):
            raise Refused("LOG_RANGE", str(attempt.length))
        new = content[attempt.length - offset :]
        if not new or attempt.finished:
            return attempt
        if attempt.length >= LARGEST:
            return await self._store(
                ctx, job, attempt, Cut([], list(attempt.sections), attempt.began), new, b"", finished=False
            )
        masked, rest = attempt.mask.apply(attempt.tail + new, final=False)
        waiting = held_back(masked)
        text, tail = masked[: len(masked) - waiting], masked[len(masked) - waiting :] + rest
        if attempt.length + len(new) >= LARGEST:
            text, tail = text + TRUNCATED.format(LARGEST).encode(), b""
        cut = sections.cut(text, attempt.sections, steps, attempt.word, ctx.clock.database_time(), attempt.began)
        return await self._store(ctx, job, attempt, cut, new, tail, finished=False)

    async def finish(
        self, ctx: Context, job: JobRow, attempt: Attempt, steps: Sequence[PlannedStep], *, success: bool
    ) -> Attempt:
        """The log is complete: store what waited, conclude the last section, forget the masks."""
        if attempt.finished:
            return attempt
        masked, _ = attempt.mask.apply(attempt.tail, final=True)
        now = ctx.clock.database_time()
        cut = sections.cut(masked, attempt.sections, steps, attempt.word, now, attempt.began)
        cut.sections[-1] = ended(cut.sections[-1], steps, now, success=success)
        return await self._store(ctx, job, attempt, cut, b"", b"", finished=True)

    async def restart(self, ctx: Context, attempt: Attempt) -> None:
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
        cut: Cut,
        new: bytes,
        tail: bytes,
        *,
        finished: bool,
    ) -> Attempt:
        length = attempt.length + len(new)
        crc = zlib.crc32(new, attempt.crc)
        lines = [*attempt.lines, *([0] * (len(cut.sections) - len(attempt.lines)))]
        chunks = []
        for place, piece in enumerate(cut.pieces):
            lines[piece.section] += piece.text.count(b"\n")
            where = {"attempt": attempt.id, "section": piece.section, "offset": length, "place": place}
            chunks.append({**where, "lines": lines[piece.section], "text": piece.text})
        change: Document = {
            "length": length,
            "crc": crc,
            "tail": await ctx.vault.seal(sealed_for(job.project_id), tail.decode("latin-1")) if tail else "",
            "finished": finished,
            "sections": [section.model_dump() for section in cut.sections],
            "began": cut.began,
            "lines": lines,
        }
        if finished:
            change["masks"] = ""

        async def body(session: AsyncClientSession | None) -> None:
            result = await ctx.collection("attempts").update_one(
                {"_id": attempt.id, "length": attempt.length, "finished": False},
                {"$set": change, "$max": {"lease_until": _lease_until(ctx)}},
                session=session,
            )
            if result.matched_count == 0:
                raise Refused("CONFLICT", "another piece of this log arrived at the same time")
            if chunks:
                await ctx.collection("log_chunks").insert_many([dict(one) for one in chunks], session=session)

        if chunks:
            async with ctx.collection("attempts").database.client.start_session() as session:
                await session.with_transaction(body)
        else:
            await body(None)
        self._remember_renewal(ctx, attempt.id)
        if finished:
            self._masks.pop(attempt.id, None)
            self._renewed.pop(attempt.id, None)
        return replace(
            attempt,
            length=length,
            crc=crc,
            tail=tail,
            finished=finished,
            sections=tuple(cut.sections),
            began=cut.began,
            lines=tuple(lines),
        )

    async def _sealed(self, ctx: Context, job: JobRow, hidden: Sequence[str]) -> str:
        return await ctx.vault.seal(sealed_for(job.project_id), json.dumps(list(hidden))) if hidden else ""

    async def _mask(self, ctx: Context, job: JobRow, found: Document) -> Mask:
        known = self._masks.get(found["_id"])
        if known is None:
            sealed = found["masks"]
            values = json.loads(await ctx.vault.open(sealed_for(job.project_id), sealed)) if sealed else []
            known = Mask(values, [found["word"]])
            if len(self._masks) >= KEPT:
                self._masks.pop(next(iter(self._masks)))
            self._masks[found["_id"]] = known
        return known

    def _remember_renewal(self, ctx: Context, attempt_id: str) -> None:
        if len(self._renewed) >= KEPT:
            self._renewed.pop(next(iter(self._renewed)))
        self._renewed[attempt_id] = ctx.clock.monotonic()


def _lease_until(ctx: Context) -> datetime:
    return ctx.clock.database_time() + timedelta(seconds=ctx.settings.job_lease_seconds)


def _milliseconds(section: Section, now: datetime) -> int:
    start = section.start_at or now
    return max((section.closed_at or now) - start, timedelta()) // timedelta(milliseconds=1)


def sealed_for(project_id: int) -> str:
    """Whose data key seals what must wait."""
    return f"logs-of-project-{project_id}"
