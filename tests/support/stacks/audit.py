"""Audit of a stack after its builds: lost, duplicated and stuck builds, and inconsistent data."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from contracts.builds import (
    BuildFinished,
    BuildQueued,
    JobAssigned,
    JobFinished,
    JobLost,
    JobStatus,
)
from libs.eventstore.decider import RecordedEvent
from tests.support.stacks.build_launcher import LaunchedBuild
from tests.support.stacks.log_consistency import Verdict, compare_with_logs
from tests.support.stacks.running_stack import RunningStack


async def audit_stack(stack: RunningStack, launched: Sequence[LaunchedBuild], executions: Path) -> Verdict:
    """Audit a stack after its builds. Return the findings.

    `launched`: the acknowledged builds. `executions`: the file in which jobs record when they begin and end.
    """
    verdict = Verdict(
        stuck=[f"build {build.build_id} has not finished" for build in launched if build.finished_at is None]
    )
    logs = await compare_with_logs(stack, verdict)
    _check_builds(logs["builds"], launched, verdict)
    _check_executions(logs["builds"], executions, verdict)
    _check_empty_queues(stack, verdict)
    return verdict


def _check_builds(log: Sequence[RecordedEvent[Any]], launched: Sequence[LaunchedBuild], verdict: Verdict) -> None:
    queued = Counter(recorded.event.build_id for recorded in log if isinstance(recorded.event, BuildQueued))
    ended = Counter(recorded.event.build_id for recorded in log if isinstance(recorded.event, BuildFinished))
    executors = {
        recorded.event.build_id: recorded.event.executor_id
        for recorded in log
        if isinstance(recorded.event, BuildQueued)
    }
    ends = [recorded.event for recorded in log if isinstance(recorded.event, JobFinished)]
    finished_jobs = Counter(event.job_id for event in ends)
    succeeded = Counter(event.job_id for event in ends if event.status is JobStatus.SUCCESS)
    for build in launched:
        if executors.get(build.build_id) != build.executor_id:
            verdict.lost.append(f"the launch of build {build.build_id} was acknowledged and is not in the log")
    requested = Counter(build.build_id for build in launched)
    verdict.duplicated += [
        f"build {build} was launched without a request" for build in queued.keys() - requested.keys()
    ]
    verdict.duplicated += [
        f"build {build} was returned by {count} launches" for build, count in requested.items() if count > 1
    ]
    verdict.duplicated += [f"build {build} was queued {count} times" for build, count in queued.items() if count > 1]
    verdict.duplicated += [f"build {build} ended {count} times" for build, count in ended.items() if count > 1]
    verdict.duplicated += [f"job {job} succeeded {count} times" for job, count in succeeded.items() if count > 1]
    verdict.duplicated += [f"job {job} ended {count} times" for job, count in finished_jobs.items() if count > 1]
    verdict.stuck += [f"build {build} has no recorded end" for build in queued.keys() - ended.keys()]


def _check_executions(log: Sequence[RecordedEvent[Any]], file: Path, verdict: Verdict) -> None:
    """Check that no job ran twice and that successful jobs ran to their end.

    A job whose runner was lost may run once for each of its assignments.
    """
    lines = Counter(tuple(line.split()) for line in file.read_text().splitlines()) if file.exists() else Counter()
    assigned = Counter(recorded.event.job_id for recorded in log if isinstance(recorded.event, JobAssigned))
    lost = Counter(recorded.event.job_id for recorded in log if isinstance(recorded.event, JobLost))
    succeeded = {
        recorded.event.job_id
        for recorded in log
        if isinstance(recorded.event, JobFinished) and recorded.event.status is JobStatus.SUCCESS
    }
    for job, times in assigned.items():
        started, ended = lines["begin", str(job)], lines["end", str(job)]
        if started > times or (not lost[job] and started > 1):
            verdict.duplicated.append(f"job {job} was executed {started} times in {times} attempts, {lost[job]} lost")
        if job in succeeded and not ended:
            verdict.wrong.append(f"job {job} succeeded but its script never ran to the end")


def _check_empty_queues(stack: RunningStack, verdict: Verdict) -> None:
    for name in ("queueds", "executeds"):
        entries = stack.admin.get(f"/developer/builds/{name}").raise_for_status().json()
        verdict.stuck += [f"{name} still lists {entry}" for entry in entries]
