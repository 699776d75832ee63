"""Spans of a build, recorded afterwards with their real times: the wait for a runner, the steps, and the run of a job.

They belong to the trace of the build's launch. The runner's requests have traces of their own, which link to that
trace.
"""

from collections.abc import Sequence
from datetime import datetime

from contracts.builds import JobRow, Section
from libs.observability.tracing import add_link, record_past_span


def span_attributes(job: JobRow) -> dict[str, str | int]:
    return {"headrace.build.id": job.build_id, "headrace.job.id": job.id, "headrace.job.attempt": job.attempt}


def record_wait(job: JobRow, until: datetime) -> None:
    add_link(job.traceparent)
    if job.queued_at:
        record_past_span("wait for a runner", job.traceparent, job.queued_at, until, span_attributes(job))


def record_steps(job: JobRow, before: Sequence[Section], after: Sequence[Section]) -> None:
    """Record a span for each step that ended between two reports. The first section precedes the steps."""
    ended = {section.step for section in before if section.closed_at}
    for section in after[1:]:
        if section.start_at and section.closed_at and section.step not in ended:
            record_past_span(
                f"step {section.step}", job.traceparent, section.start_at, section.closed_at, span_attributes(job)
            )


def record_run(job: JobRow, until: datetime, outcome: str) -> None:
    """Record a span for the run of a job, from its assignment to its end."""
    if job.assigned_at:
        record_past_span(
            "run job", job.traceparent, job.assigned_at, until, {**span_attributes(job), "headrace.outcome": outcome}
        )
