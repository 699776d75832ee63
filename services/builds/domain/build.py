"""A build from launch to result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import assert_never

from contracts.builds import (
    BuildCommand,
    BuildDeleted,
    BuildEvent,
    BuildFinished,
    BuildJobsChanged,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    BuildStarted,
    BuildStatus,
    CancelBuildJob,
    ChangeBuildPriority,
    ContinueBuild,
    DeleteBuild,
    FailBuild,
    JobStatus,
    JobStatusChange,
    KillBuild,
    PlanBuild,
    PlayJob,
    QueueBuild,
    RecordJobResult,
    RetryBuild,
    RetryJob,
    StartBuild,
)
from contracts.errors import RequestRejected
from libs.eventstore.decider import Decider
from services.builds.domain.job_graph import (
    BLOCKING,
    CREATED,
    FAILED,
    MANUAL,
    PASSED,
    SKIPPED,
    JobGraph,
    final_statuses,
    status_changes,
)

KILLED_EXIT_CODE, KILLED_MESSAGE = 143, "Deployment aborted by user"


class Phase(StrEnum):
    NEW = "new"
    QUEUED = "queued"
    PLANNED = "planned"
    RESUMED = "resumed"  # waits for its lane
    RUNNING = "running"
    CANCELING = "canceling"
    FINISHED = "finished"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Build:
    phase: Phase = Phase.NEW
    queued: BuildQueued | None = None
    planned: BuildPlanned | None = None
    graph: JobGraph = field(default_factory=JobGraph)
    ever_queued: frozenset[int] = frozenset()  # jobs that were queued at some time
    failures: tuple[BuildJobsChanged, ...] = ()  # how jobs ended that were not wished again since, the first one first
    duration_ms: int = 0  # counted when it was over before
    rerun_job_ids: tuple[int, ...] = ()  # jobs for which it was resumed
    was_started: bool = False
    priority: int = 0

    @property
    def has_cleanup(self) -> bool:
        return any(self.graph.jobs[job_id].has_cleanup for job_id in self.graph.queued)

    @property
    def launch(self) -> BuildQueued:
        if self.queued is None:
            raise RequestRejected("BUILD_NOT_FOUND")
        return self.queued


def decide(build: Build, command: BuildCommand) -> Sequence[BuildEvent]:
    match build.phase, command:
        case Phase.NEW, QueueBuild():
            return [_queued_event(command)]
        case Phase.NEW, _:
            raise RequestRejected("BUILD_NOT_FOUND")
        case Phase.QUEUED, PlanBuild():
            return _plan(build, command)
        case Phase.QUEUED, FailBuild():
            return [_finished_event(build, BuildStatus.FAILED, command.exit_code, command.exit_message, command.output)]
        case Phase.PLANNED, StartBuild(runner_name=runner):
            queued = build.launch
            return [
                BuildStarted(
                    build_id=queued.build_id,
                    project_id=queued.project_id,
                    executor_id=queued.executor_id,
                    runner_name=runner,
                )
            ]
        case (
            (Phase.PLANNED | Phase.RUNNING | Phase.CANCELING),
            RecordJobResult(job_id=job_id),
        ) if job_id in build.graph.queued:
            return _on_job_finished(build, command)
        case ((Phase.PLANNED | Phase.RUNNING), KillBuild()) if build.has_cleanup:
            return [_killed_event(build, graceful=True)]
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RESUMED | Phase.RUNNING | Phase.CANCELING), KillBuild()):
            return [_killed_event(build, graceful=False), _finish_killed(build, command.duration_ms)]
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RUNNING | Phase.CANCELING), ChangeBuildPriority(priority=priority)):
            return [] if priority == build.priority else [_priority_changed_event(build, priority)]
        case ((Phase.PLANNED | Phase.RUNNING | Phase.FINISHED), (PlayJob() | RetryJob() | RetryBuild())):
            return list(rerun_jobs(build, command))
        case Phase.RESUMED, ContinueBuild():
            return [_advanced_event(build, build.graph.rerun(build.rerun_job_ids), {})]
        case ((Phase.PLANNED | Phase.RUNNING), CancelBuildJob(job_id=job_id)):
            return _stop_job(build, job_id)
        case Phase.FINISHED, DeleteBuild(build_id=build_id):
            job_ids = tuple(sorted(build.ever_queued))
            return [BuildDeleted(build_id=build_id, project_id=build.launch.project_id, job_ids=job_ids)]
        case Phase.DELETED, (
            ChangeBuildPriority() | DeleteBuild() | PlayJob() | RetryJob() | RetryBuild() | CancelBuildJob()
        ):
            raise RequestRejected("BUILD_NOT_FOUND")
        case _, (PlanBuild() | FailBuild() | StartBuild() | RecordJobResult() | ContinueBuild() | KillBuild()):
            return []  # already so, or already over
        case _:
            raise RequestRejected("BUILD_STATUS", f"{command.wire_name} while {build.phase}")


def _queued_event(command: QueueBuild) -> BuildQueued:
    project = command.project
    if project is None or command.queued_at is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    return BuildQueued(
        build_id=command.build_id,
        executor_id=command.executor_id,
        project_id=command.project_id,
        project=project,
        ignore_steps=command.ignore_steps,
        sha=command.sha,
        ref=command.ref,
        delivery_id=command.delivery_id,
        queued_at=command.queued_at,
        initiator_id=command.initiator_id,
        initiator_name=command.initiator_name,
        timeout_seconds=command.timeout_seconds,
        max_attempts=command.max_attempts,
        needs_lane=not project.allow_concurrent_execution,
        local_id=command.local_id,
        before_sha=command.before_sha,
        source=command.source,
    )


def _plan(build: Build, command: PlanBuild) -> list[BuildEvent]:
    planned = _planned_event(build, command)
    after = evolve(build, planned)
    return [planned, _finish_by_jobs(after, after.graph, (), 0)] if after.graph.is_finished else [planned]


def _planned_event(build: Build, command: PlanBuild) -> BuildPlanned:
    queued = build.launch
    branch = command.ref.removeprefix("refs/heads/")
    return BuildPlanned(
        build_id=queued.build_id,
        project_id=queued.project_id,
        project=queued.project,
        sha=command.sha,
        ref=command.ref,
        protected=any(fnmatchcase(branch, pattern) for pattern in queued.project.protected_branches),
        available_steps=command.available_steps,
        jobs=command.jobs,
        local_id=queued.local_id,
        priority=build.priority,
        warnings=command.warnings,
        default_branch=command.default_branch,
        message=command.message,
        served_by_hash=command.served_by_hash,
    )


def _priority_changed_event(build: Build, priority: int) -> BuildPriorityChanged:
    queued = build.launch
    return BuildPriorityChanged(
        build_id=queued.build_id, project_id=queued.project_id, priority=priority, job_ids=build.graph.queued
    )


def _on_job_finished(build: Build, command: RecordJobResult) -> list[BuildEvent]:
    """One of its jobs is over. A build of one job is over with it."""
    canceling = build.phase is Phase.CANCELING
    status = build.graph.effective_status(command.job_id, command.status, command.exit_code)
    ended = build.graph.with_statuses({command.job_id: status})
    now = ended if canceling else ended.advance()
    advanced = _advanced_event(build, now, {command.job_id: status}).replace(
        exit_code=command.exit_code, exit_message=command.exit_message, output=command.output
    )
    events: list[BuildEvent] = [advanced] if len(now.jobs) > 1 or status is JobStatus.WARNING else []
    if canceling and not now.queued:
        events.append(_finish_killed(build, command.duration_ms))  # however its jobs ended
    elif not canceling and now.is_finished:
        failures = (*build.failures, *([advanced] if status in FAILED else []))
        events.append(_finish_by_jobs(build, now, failures, command.duration_ms))
    return events


def _stop_job(build: Build, job_id: int) -> list[BuildEvent]:
    """What is queued or runs ends by its job; what waits is over at once."""
    status = build.graph.statuses.get(job_id)
    if status is None:
        raise RequestRejected("JOB_NOT_FOUND")
    if status is JobStatus.QUEUED:
        return [_advanced_event(build, build.graph, {}).replace(stopped=(job_id,))]
    if status not in BLOCKING:
        raise RequestRejected("JOB_STATUS", f"the job is over: {status}")
    now = build.graph.with_statuses({job_id: JobStatus.CANCELED}).advance()
    advanced = _advanced_event(build, now, {job_id: JobStatus.CANCELED}).replace(
        exit_code=KILLED_EXIT_CODE, exit_message=KILLED_MESSAGE
    )
    return [advanced, _finish_by_jobs(build, now, (*build.failures, advanced), 0)] if now.is_finished else [advanced]


def rerun_jobs(build: Build, command: PlayJob | RetryJob | RetryBuild) -> Iterator[BuildEvent]:
    """Some of its jobs run, or run again; it may have been over."""
    queued, statuses = build.launch, build.graph.statuses
    if isinstance(command, RetryBuild):
        job_ids = [job_id for job_id, status in statuses.items() if status in FAILED]
        if not job_ids:
            raise RequestRejected("BUILD_STATUS", "no job of the build failed or was canceled")
    else:
        job_ids = [command.job_id]
        status = statuses.get(command.job_id)
        if status is None:
            raise RequestRejected("JOB_NOT_FOUND")
        if status is JobStatus.QUEUED:
            return  # it is on its way
        wanted = {MANUAL} if isinstance(command, PlayJob) else FAILED | PASSED
        if status not in wanted:
            raise RequestRejected("JOB_STATUS", f"{command.wire_name} while {status}")
    if build.phase is Phase.FINISHED:
        yield BuildResumed(
            build_id=queued.build_id,
            project_id=queued.project_id,
            executor_id=queued.executor_id,
            job_ids=tuple(job_ids),
            needs_lane=queued.needs_lane,
        )
        if queued.needs_lane:
            return
    yield _advanced_event(build, build.graph.rerun(job_ids), {})


def _advanced_event(build: Build, now: JobGraph, ended: Mapping[int, JobStatus]) -> BuildJobsChanged:
    planned = build.planned
    if planned is None:
        raise RequestRejected("BUILD_STATUS", "the build could not be planned")
    changed = {job_id: status for job_id, status in now.statuses.items() if status is not build.graph.statuses[job_id]}
    return BuildJobsChanged(
        build_id=planned.build_id,
        project_id=planned.project_id,
        project=planned.project,
        sha=planned.sha,
        ref=planned.ref,
        protected=planned.protected,
        local_id=planned.local_id,
        priority=build.priority,
        ended=_job_statuses(ended),
        released=tuple(
            now.jobs[job_id].replace(round=now.jobs[job_id].round + (job_id in build.ever_queued))
            for job_id, status in changed.items()
            if status is JobStatus.QUEUED
        ),
        waiting=_job_statuses(
            {job_id: status for job_id, status in changed.items() if status in (CREATED, MANUAL, SKIPPED)}
        ),
    )


def _job_statuses(statuses: Mapping[int, JobStatus]) -> tuple[JobStatusChange, ...]:
    return tuple(JobStatusChange(job_id=job_id, status=status) for job_id, status in statuses.items())


def _finish_by_jobs(
    build: Build, now: JobGraph, failures: Sequence[BuildJobsChanged], milliseconds: int
) -> BuildFinished:
    """It ends as its jobs did; of those that failed the first one says how."""
    warnings = build.planned.warnings if build.planned else ()
    allowed = [now.jobs[job_id].name for job_id, status in now.statuses.items() if status is JobStatus.WARNING]
    words = [*warnings, *(f"The job {name} failed, as it may." for name in allowed)]
    took = max(0, milliseconds - build.duration_ms)
    if not failures:
        return _finished_event(build, BuildStatus.SUCCESS, 0, None, "\n".join(words) or None, took)
    first = failures[0]
    words += [first.output] if first.output else []
    return _finished_event(
        build, BuildStatus.FAILED, first.exit_code, first.exit_message, "\n".join(words) or None, took
    )


def _killed_event(build: Build, *, graceful: bool) -> BuildKilled:
    queued = build.launch
    return BuildKilled(
        build_id=queued.build_id, project_id=queued.project_id, job_ids=build.graph.queued, graceful=graceful
    )


def _finish_killed(build: Build, milliseconds: int) -> BuildFinished:
    output = f"The build ended with exit code {KILLED_EXIT_CODE}: {KILLED_MESSAGE}"
    return _finished_event(build, BuildStatus.KILLED, KILLED_EXIT_CODE, KILLED_MESSAGE, output, milliseconds)


def _finished_event(
    build: Build, status: BuildStatus, code: int, message: str | None, output: str | None, milliseconds: int = 0
) -> BuildFinished:
    queued = build.launch
    return BuildFinished(
        build_id=queued.build_id,
        executor_id=queued.executor_id,
        project_id=queued.project_id,
        project_name=queued.project.name,
        status=status,
        exit_code=code,
        exit_message=message,
        output=output,
        queued_at=queued.queued_at,
        initiator_id=queued.initiator_id,
        initiator_name=queued.initiator_name,
        held_lane=queued.needs_lane,
        keep_number_build=queued.project.keep_number_build,
        duration=round_to_seconds(milliseconds),
        duration_ms=milliseconds or None,
        ran=build.was_started or status is not BuildStatus.KILLED or build.phase not in (Phase.QUEUED, Phase.PLANNED),
    )


def evolve(build: Build, event: BuildEvent) -> Build:
    match event:
        case BuildQueued():
            return replace(build, phase=Phase.QUEUED, queued=event)
        case BuildPlanned(jobs=jobs):
            progress = JobGraph.of(jobs)
            known = frozenset(progress.queued)
            return replace(build, phase=Phase.PLANNED, planned=event, graph=progress, ever_queued=known)
        case BuildStarted():
            return replace(build, phase=Phase.RUNNING)
        case BuildKilled(graceful=graceful):
            return replace(build, phase=Phase.CANCELING) if graceful else build
        case BuildPriorityChanged(priority=priority):
            return replace(build, priority=priority)
        case BuildJobsChanged():
            return _after_advance(build, event)
        case BuildResumed(needs_lane=needs_lane, job_ids=job_ids):
            return replace(build, phase=Phase.RESUMED if needs_lane else Phase.PLANNED, rerun_job_ids=job_ids)
        case BuildFinished():
            return _after_finish(build, event)
        case BuildDeleted():
            return replace(build, phase=Phase.DELETED)
        case _:
            assert_never(event)


def _after_advance(build: Build, event: BuildJobsChanged) -> Build:
    released = {job.job_id: job for job in event.released}
    progress = build.graph.with_statuses(status_changes(event))
    failures = [one for one in build.failures if released.keys().isdisjoint(now.job_id for now in one.ended)]
    if any(one.status in FAILED for one in event.ended):
        failures.append(event)
    return replace(
        build,
        phase=Phase.PLANNED if build.phase is Phase.RESUMED else build.phase,
        graph=replace(progress, jobs={**progress.jobs, **released}),
        ever_queued=build.ever_queued | released.keys(),
        failures=tuple(failures),
    )


def _after_finish(build: Build, event: BuildFinished) -> Build:
    progress = build.graph.with_statuses(final_statuses(build.graph.statuses, event.status))
    milliseconds = build.duration_ms + duration_ms_of(event)
    return replace(build, phase=Phase.FINISHED, graph=progress, duration_ms=milliseconds, was_started=event.ran)


def duration_ms_of(event: BuildFinished) -> int:
    """Return the milliseconds that the build took."""
    return event.duration * 1000 if event.duration_ms is None else event.duration_ms


def round_to_seconds(milliseconds: int) -> int:
    return (milliseconds + 500) // 1000


build_decider = Decider[BuildCommand, Build, BuildEvent](
    commands=(
        QueueBuild,
        PlanBuild,
        StartBuild,
        FailBuild,
        RecordJobResult,
        PlayJob,
        RetryJob,
        CancelBuildJob,
        RetryBuild,
        ContinueBuild,
        KillBuild,
        ChangeBuildPriority,
        DeleteBuild,
    ),
    stream=lambda command: f"build-{command.build_id}",
    initial=Build(),
    decide=decide,
    evolve=evolve,
    initial_commands=(QueueBuild,),
)
