"""Import of reports: a worker reads each uploaded JUnit report, masks the secrets of the build, and stores the result.

A report that cannot be read gives warnings and has no influence on the build. After a crash, the event is handled
again, and replaces what was stored.
"""

import asyncio
import logging

from contracts.builds import JUNIT_TYPE, ArtifactUploaded, GetArtifactChunk, JobRow, JobTests, SuiteResult
from contracts.errors import RequestRejected
from libs.eventstore.decider import RecordedEvent
from libs.security.masking import SecretMasker
from libs.service.declaration import Context, RetryLater
from services.builds.artifacts.artifacts import Artifacts
from services.builds.logs.log_masking import decrypt_masker
from services.builds.reports.junit_parser import MAX_NAME_LENGTH, ParsedReport
from services.builds.reports.report_masking import mask_cases, mask_text
from services.builds.reports.report_reader import ReportReader
from services.builds.reports.report_store import attempt_id, delete_reports_of_job, store_report, to_document

log = logging.getLogger("headrace.builds")

STORE_RETRY_SECONDS = 10.0


class ReportImport:
    def __init__(self, artifacts: Artifacts) -> None:
        self._artifacts = artifacts

    async def import_report(self, ctx: Context, recorded: RecordedEvent[ArtifactUploaded]) -> None:
        """Read and store the report in an uploaded artifact. Other artifacts are ignored."""
        uploaded = recorded.event
        if uploaded.artifact_type != JUNIT_TYPE:
            return
        uploads, upload_id = ctx.collection("artifacts"), {"_id": uploaded.artifact_id}
        upload = await uploads.find_one(upload_id, {"masks": 1})
        job = await ctx.read_model(JobRow).get(f"job-{uploaded.job_id}")
        if upload is None or not upload.get("masks") or job is None:
            return  # the report was imported already, or the artifact or the job was removed
        masker = await decrypt_masker(ctx, uploaded.project_id, upload["masks"])
        report = await self._read(ctx, uploaded)
        if report is None:
            return
        cases = []
        for batch in mask_cases(masker, report.cases):
            cases += batch
            await asyncio.sleep(0)
        summary = _summarize(job, report, masker)
        document = {
            **await asyncio.to_thread(to_document, summary, cases),  # takes up to 0.2 s of CPU time
            "build_id": uploaded.build_id,
            "project_id": uploaded.project_id,
            "attempt": uploaded.attempt,
            "ref": job.ref,
            "sha": job.sha,
        }
        await store_report(ctx, attempt_id(uploaded.job_id, uploaded.attempt), recorded.at, document)
        if await ctx.read_model(JobRow).get(f"job-{uploaded.job_id}") is None:
            await delete_reports_of_job(ctx, uploaded.job_id)  # the job was deleted in the meantime
        await uploads.update_one(upload_id, {"$unset": {"masks": ""}})

    async def _read(self, ctx: Context, uploaded: ArtifactUploaded) -> ParsedReport | None:
        """Read and parse the report in small steps, between which the process does other work.

        Return None if the report was removed.
        """
        reader, offset = ReportReader(uploaded.artifact_format), 0
        while offset < uploaded.size and not reader.has_ended:
            query = GetArtifactChunk(artifact_id=uploaded.artifact_id, offset=offset)
            try:
                chunk = await self._artifacts.get_artifact_chunk(ctx, query)
            except RequestRejected as rejected:
                if rejected.code == "ARTIFACT_NOT_FOUND":
                    log.info("the report %s was removed before it was read", uploaded.artifact_id)
                    return None
                raise RetryLater(STORE_RETRY_SECONDS) from None
            for _ in reader.feed(chunk):
                await asyncio.sleep(0)
            offset += len(chunk)
        return reader.finish()


def _summarize(job: JobRow, report: ParsedReport, masker: SecretMasker) -> JobTests:
    suites = (
        SuiteResult(name=mask_text(masker, name, MAX_NAME_LENGTH), **tally.to_counts().model_dump())
        for name, tally in report.suites.items()
    )
    return JobTests(
        job_id=job.id,
        job_name=job.name,
        suites=tuple(suites),
        warnings=tuple(report.warnings),
        **report.totals.to_counts().model_dump(),
    )
