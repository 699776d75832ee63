"""What a build's trace tells afterwards: how long a job waited, its steps, its run; with the times they really had.

They stand in the trace of the launch, linked to the calls by which the runner told of them.
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
    """Those that ended in between. The first section is what comes before the steps."""
    known = {one.step for one in before if one.closed_at}
    for one in after[1:]:
        if one.start_at and one.closed_at and one.step not in known:
            record_past_span(f"step {one.step}", job.traceparent, one.start_at, one.closed_at, span_attributes(job))


def record_run(job: JobRow, until: datetime, outcome: str) -> None:
    if job.assigned_at:
        record_past_span(
            "run job", job.traceparent, job.assigned_at, until, {**span_attributes(job), "headrace.outcome": outcome}
        )
