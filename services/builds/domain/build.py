"""A build from launch to result."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import assert_never

from contracts.builds import (
    BuildAdvanced,
    BuildCommand,
    BuildDeleted,
    BuildEvent,
    BuildFinished,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildResumed,
    BuildStarted,
    BuildStatus,
    ChangeBuildPriority,
    DeleteBuild,
    EndJobOfBuild,
    FailBuild,
    GoOnBuild,
    JobNow,
    JobStatus,
    KillBuild,
    PlanBuild,
    PlayJob,
    QueueBuild,
    RetryBuild,
    RetryJob,
    StartBuild,
    StopJob,
)
from contracts.errors import Refused
from libs.deciding import Decider
from services.builds.domain.progress import BAD, CREATED, GOOD, HOLDING, MANUAL, SKIPPED, Progress, left, told

KILLED, ABORTED = 143, "Deployment aborted by user"


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
    progress: Progress = field(default_factory=Progress)
    known: frozenset[int] = frozenset()  # jobs that were queued at some time
    failures: tuple[BuildAdvanced, ...] = ()  # how jobs ended that were not wished again since, the first one first
    milliseconds: int = 0  # counted when it was over before
    wished: tuple[int, ...] = ()  # jobs for which it was resumed
    ran: bool = False
    priority: int = 0

    @property
    def cleans_up(self) -> bool:
        return any(self.progress.jobs[job_id].cleans_up for job_id in self.progress.queued)

    @property
    def launched(self) -> BuildQueued:
        if self.queued is None:
            raise Refused("BUILD_NOT_FOUND")
        return self.queued


def decide(build: Build, command: BuildCommand) -> Sequence[BuildEvent]:
    match build.phase, command:
        case Phase.NEW, QueueBuild():
            return [_queued(command)]
        case Phase.NEW, _:
            raise Refused("BUILD_NOT_FOUND")
        case Phase.QUEUED, PlanBuild():
            return _begin(build, command)
        case Phase.QUEUED, FailBuild():
            return [_finished(build, BuildStatus.FAILED, command.exit_code, command.exit_message, command.output)]
        case Phase.PLANNED, StartBuild(runner_name=runner):
            queued = build.launched
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
            EndJobOfBuild(job_id=job_id),
        ) if job_id in build.progress.queued:
            return _go_on(build, command)
        case ((Phase.PLANNED | Phase.RUNNING), KillBuild()) if build.cleans_up:
            return [_killed(build, graceful=True)]
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RESUMED | Phase.RUNNING | Phase.CANCELING), KillBuild()):
            return [_killed(build, graceful=False), _aborted(build, command.duration_ms)]
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RUNNING | Phase.CANCELING), ChangeBuildPriority(priority=priority)):
            return [] if priority == build.priority else [_reordered(build, priority)]
        case ((Phase.PLANNED | Phase.RUNNING | Phase.FINISHED), (PlayJob() | RetryJob() | RetryBuild())):
            return list(wish(build, command))
        case Phase.RESUMED, GoOnBuild():
            return [_advanced(build, build.progress.wished(build.wished), {})]
        case ((Phase.PLANNED | Phase.RUNNING), StopJob(job_id=job_id)):
            return _stop(build, job_id)
        case Phase.FINISHED, DeleteBuild(build_id=build_id):
            job_ids = tuple(sorted(build.known))
            return [BuildDeleted(build_id=build_id, project_id=build.launched.project_id, job_ids=job_ids)]
        case Phase.DELETED, (ChangeBuildPriority() | DeleteBuild() | PlayJob() | RetryJob() | RetryBuild() | StopJob()):
            raise Refused("BUILD_NOT_FOUND")
        case _, (PlanBuild() | FailBuild() | StartBuild() | EndJobOfBuild() | GoOnBuild() | KillBuild()):
            return []  # already so, or already over
        case _:
            raise Refused("BUILD_STATUS", f"{command.wire_name} while {build.phase}")


def _queued(command: QueueBuild) -> BuildQueued:
    project = command.project
    if project is None or command.queued_at is None:
        raise Refused("PROJECT_NOT_FOUND")
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


def _begin(build: Build, command: PlanBuild) -> list[BuildEvent]:
    planned = _planned(build, command)
    after = evolve(build, planned)
    return [planned, _ended(after, after.progress, (), 0)] if after.progress.over else [planned]


def _planned(build: Build, command: PlanBuild) -> BuildPlanned:
    queued = build.launched
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


def _reordered(build: Build, priority: int) -> BuildPriorityChanged:
    queued = build.launched
    return BuildPriorityChanged(
        build_id=queued.build_id, project_id=queued.project_id, priority=priority, job_ids=build.progress.queued
    )


def _go_on(build: Build, command: EndJobOfBuild) -> list[BuildEvent]:
    """One of its jobs is over. A build of one job is over with it."""
    canceling = build.phase is Phase.CANCELING
    status = build.progress.meaning(command.job_id, command.status, command.exit_code)
    ended = build.progress.having({command.job_id: status})
    now = ended if canceling else ended.settled()
    advanced = _advanced(build, now, {command.job_id: status}).but(
        exit_code=command.exit_code, exit_message=command.exit_message, output=command.output
    )
    events: list[BuildEvent] = [advanced] if len(now.jobs) > 1 or status is JobStatus.WARNING else []
    if canceling and not now.queued:
        events.append(_aborted(build, command.duration_ms))  # however its jobs ended
    elif not canceling and now.over:
        failures = (*build.failures, *([advanced] if status in BAD else []))
        events.append(_ended(build, now, failures, command.duration_ms))
    return events


def _stop(build: Build, job_id: int) -> list[BuildEvent]:
    """What is queued or runs ends by its job; what waits is over at once."""
    status = build.progress.statuses.get(job_id)
    if status is None:
        raise Refused("JOB_NOT_FOUND")
    if status is JobStatus.QUEUED:
        return [_advanced(build, build.progress, {}).but(stopped=(job_id,))]
    if status not in HOLDING:
        raise Refused("JOB_STATUS", f"the job is over: {status}")
    now = build.progress.having({job_id: JobStatus.CANCELED}).settled()
    advanced = _advanced(build, now, {job_id: JobStatus.CANCELED}).but(exit_code=KILLED, exit_message=ABORTED)
    return [advanced, _ended(build, now, (*build.failures, advanced), 0)] if now.over else [advanced]


def wish(build: Build, command: PlayJob | RetryJob | RetryBuild) -> Iterator[BuildEvent]:
    """Some of its jobs run, or run again; it may have been over."""
    queued, statuses = build.launched, build.progress.statuses
    if isinstance(command, RetryBuild):
        job_ids = [job_id for job_id, status in statuses.items() if status in BAD]
        if not job_ids:
            raise Refused("BUILD_STATUS", "no job of the build failed or was canceled")
    else:
        job_ids = [command.job_id]
        status = statuses.get(command.job_id)
        if status is None:
            raise Refused("JOB_NOT_FOUND")
        if status is JobStatus.QUEUED:
            return  # it is on its way
        wanted = {MANUAL} if isinstance(command, PlayJob) else BAD | GOOD
        if status not in wanted:
            raise Refused("JOB_STATUS", f"{command.wire_name} while {status}")
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
    yield _advanced(build, build.progress.wished(job_ids), {})


def _advanced(build: Build, now: Progress, ended: Mapping[int, JobStatus]) -> BuildAdvanced:
    planned = build.planned
    if planned is None:
        raise Refused("BUILD_STATUS", "the build could not be planned")
    changed = {
        job_id: status for job_id, status in now.statuses.items() if status is not build.progress.statuses[job_id]
    }
    return BuildAdvanced(
        build_id=planned.build_id,
        project_id=planned.project_id,
        project=planned.project,
        sha=planned.sha,
        ref=planned.ref,
        protected=planned.protected,
        local_id=planned.local_id,
        priority=build.priority,
        ended=_now(ended),
        released=tuple(
            now.jobs[job_id].but(round=now.jobs[job_id].round + (job_id in build.known))
            for job_id, status in changed.items()
            if status is JobStatus.QUEUED
        ),
        waiting=_now({job_id: status for job_id, status in changed.items() if status in (CREATED, MANUAL, SKIPPED)}),
    )


def _now(statuses: Mapping[int, JobStatus]) -> tuple[JobNow, ...]:
    return tuple(JobNow(job_id=job_id, status=status) for job_id, status in statuses.items())


def _ended(build: Build, now: Progress, failures: Sequence[BuildAdvanced], milliseconds: int) -> BuildFinished:
    """It ends as its jobs did; of those that failed the first one says how."""
    warnings = build.planned.warnings if build.planned else ()
    allowed = [now.jobs[job_id].name for job_id, status in now.statuses.items() if status is JobStatus.WARNING]
    words = [*warnings, *(f"The job {name} failed, as it may." for name in allowed)]
    took = max(0, milliseconds - build.milliseconds)
    if not failures:
        return _finished(build, BuildStatus.SUCCESS, 0, None, "\n".join(words) or None, took)
    first = failures[0]
    words += [first.output] if first.output else []
    return _finished(build, BuildStatus.FAILED, first.exit_code, first.exit_message, "\n".join(words) or None, took)


def _killed(build: Build, *, graceful: bool) -> BuildKilled:
    queued = build.launched
    return BuildKilled(
        build_id=queued.build_id, project_id=queued.project_id, job_ids=build.progress.queued, graceful=graceful
    )


def _aborted(build: Build, milliseconds: int) -> BuildFinished:
    output = f"The build ended with exit code {KILLED}: {ABORTED}"
    return _finished(build, BuildStatus.KILLED, KILLED, ABORTED, output, milliseconds)


def _finished(
    build: Build, status: BuildStatus, code: int, message: str | None, output: str | None, milliseconds: int = 0
) -> BuildFinished:
    queued = build.launched
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
        duration=rounded_seconds(milliseconds),
        duration_ms=milliseconds or None,
        ran=build.ran or status is not BuildStatus.KILLED or build.phase not in (Phase.QUEUED, Phase.PLANNED),
    )


def evolve(build: Build, event: BuildEvent) -> Build:
    match event:
        case BuildQueued():
            return replace(build, phase=Phase.QUEUED, queued=event)
        case BuildPlanned(jobs=jobs):
            progress = Progress.of(jobs)
            known = frozenset(progress.queued)
            return replace(build, phase=Phase.PLANNED, planned=event, progress=progress, known=known)
        case BuildStarted():
            return replace(build, phase=Phase.RUNNING)
        case BuildKilled(graceful=graceful):
            return replace(build, phase=Phase.CANCELING) if graceful else build
        case BuildPriorityChanged(priority=priority):
            return replace(build, priority=priority)
        case BuildAdvanced():
            return _evolved(build, event)
        case BuildResumed(needs_lane=needs_lane, job_ids=job_ids):
            return replace(build, phase=Phase.RESUMED if needs_lane else Phase.PLANNED, wished=job_ids)
        case BuildFinished():
            return _closed(build, event)
        case BuildDeleted():
            return replace(build, phase=Phase.DELETED)
        case _:
            assert_never(event)


def _evolved(build: Build, event: BuildAdvanced) -> Build:
    released = {job.job_id: job for job in event.released}
    progress = build.progress.having(told(event))
    failures = [one for one in build.failures if released.keys().isdisjoint(now.job_id for now in one.ended)]
    if any(one.status in BAD for one in event.ended):
        failures.append(event)
    return replace(
        build,
        phase=Phase.PLANNED if build.phase is Phase.RESUMED else build.phase,
        progress=replace(progress, jobs={**progress.jobs, **released}),
        known=build.known | released.keys(),
        failures=tuple(failures),
    )


def _closed(build: Build, event: BuildFinished) -> Build:
    progress = build.progress.having(left(build.progress.statuses, event.status))
    milliseconds = build.milliseconds + duration_of(event)
    return replace(build, phase=Phase.FINISHED, progress=progress, milliseconds=milliseconds, ran=event.ran)


def duration_of(event: BuildFinished) -> int:
    """Return the milliseconds that the build took."""
    return event.duration * 1000 if event.duration_ms is None else event.duration_ms


def rounded_seconds(milliseconds: int) -> int:
    return (milliseconds + 500) // 1000


build_decider = Decider[BuildCommand, Build, BuildEvent](
    commands=(
        QueueBuild,
        PlanBuild,
        StartBuild,
        FailBuild,
        EndJobOfBuild,
        PlayJob,
        RetryJob,
        StopJob,
        RetryBuild,
        GoOnBuild,
        KillBuild,
        ChangeBuildPriority,
        DeleteBuild,
    ),
    stream=lambda command: f"build-{command.build_id}",
    initial=Build(),
    decide=decide,
    evolve=evolve,
    creates=(QueueBuild,),
)
