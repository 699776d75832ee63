"""Decider of a build, from launch to result."""

from collections.abc import Iterator, Sequence

from contracts.builds import (
    BuildDeleted,
    BuildEvent,
    BuildResumed,
    BuildStarted,
    BuildStatus,
    ChangeBuildPriority,
    DeleteBuild,
    JobStatus,
    RetryBuild,
)
from contracts.errors import RequestRejected
from libs.eventstore.decider import Decider
from services.builds.domain.build_events import (
    KILLED_EXIT_CODE,
    KILLED_MESSAGE,
    advanced_event,
    finished_by_jobs_event,
    finished_by_kill_event,
    finished_event,
    killed_event,
    planned_event,
    priority_changed_event,
    queued_event,
)
from services.builds.domain.build_state import Build, Phase, evolve
from services.builds.domain.internal_commands import (
    ContinueBuild,
    FailBuild,
    LaunchBuild,
    PlanBuild,
    PlayBuildJob,
    RecordJobResult,
    RerunBuildJob,
    StartBuild,
    StopBuild,
    StopBuildJob,
    SupersedeBuild,
)
from services.builds.domain.job_graph import (
    BLOCKING,
    FAILED,
    MANUAL,
    PASSED,
    final_statuses,
)

BuildCommand = (
    LaunchBuild
    | PlanBuild
    | StartBuild
    | FailBuild
    | RecordJobResult
    | PlayBuildJob
    | RerunBuildJob
    | StopBuildJob
    | RetryBuild
    | ContinueBuild
    | StopBuild
    | SupersedeBuild
    | ChangeBuildPriority
    | DeleteBuild
)


def decide(build: Build, command: BuildCommand) -> Sequence[BuildEvent]:
    """Return the events that a command causes. Raises BUILD_NOT_FOUND, BUILD_STATUS, JOB_NOT_FOUND and JOB_STATUS."""
    match build.phase, command:
        case Phase.NEW, LaunchBuild():
            return [queued_event(command)]
        case Phase.NEW, _:
            raise RequestRejected("BUILD_NOT_FOUND")
        case Phase.QUEUED, PlanBuild():
            return _plan(build, command)
        case Phase.QUEUED, FailBuild():
            return [finished_event(build, BuildStatus.FAILED, command.exit_code, command.exit_message, command.output)]
        case Phase.PLANNED, StartBuild(runner_name=runner) if _is_current_round(build, command):
            queued = build.launch
            return [
                BuildStarted(
                    build_id=queued.build_id,
                    project_id=queued.project_id,
                    executor_id=queued.executor_id,
                    runner_name=runner,
                    queued_at=None if build.was_started else queued.queued_at,
                )
            ]
        case (
            (Phase.PLANNED | Phase.RUNNING | Phase.CANCELING),
            RecordJobResult(job_id=job_id),
        ) if job_id in build.graph.queued and _is_current_round(build, command):
            return _on_job_finished(build, command)
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RUNNING), SupersedeBuild()):
            return _supersede(build, command)
        case ((Phase.PLANNED | Phase.RUNNING), StopBuild()) if build.has_cleanup:
            return [killed_event(build, graceful=True)]
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RESUMED | Phase.RUNNING | Phase.CANCELING), StopBuild()):
            return [killed_event(build, graceful=False), finished_by_kill_event(build, command.duration_ms)]
        case (
            (Phase.QUEUED | Phase.PLANNED | Phase.RESUMED | Phase.RUNNING | Phase.CANCELING),
            ChangeBuildPriority(priority=priority),
        ):
            return [] if priority == build.priority else [priority_changed_event(build, priority)]
        case ((Phase.PLANNED | Phase.RUNNING | Phase.FINISHED), (PlayBuildJob() | RerunBuildJob() | RetryBuild())):
            return list(rerun_jobs(build, command))
        case Phase.RESUMED, ContinueBuild(round=build.round):
            return [advanced_event(build, build.graph.rerun(build.rerun_job_ids), {})]
        case ((Phase.PLANNED | Phase.RUNNING), StopBuildJob(job_id=job_id)):
            return _stop_job(build, job_id)
        case Phase.FINISHED, DeleteBuild(build_id=build_id):
            job_ids = tuple(sorted(build.ever_queued))
            return [BuildDeleted(build_id=build_id, project_id=build.launch.project_id, job_ids=job_ids)]
        case Phase.DELETED, (
            ChangeBuildPriority() | DeleteBuild() | PlayBuildJob() | RerunBuildJob() | RetryBuild() | StopBuildJob()
        ):
            raise RequestRejected("BUILD_NOT_FOUND")
        case _, (
            PlanBuild()
            | FailBuild()
            | StartBuild()
            | RecordJobResult()
            | ContinueBuild()
            | StopBuild()
            | SupersedeBuild()
        ):
            return []  # the command was handled already or is about an earlier round, or the build is finished
        case _:
            raise RequestRejected("BUILD_STATUS", f"{command.wire_name} while {build.phase}")


def _is_current_round(build: Build, command: StartBuild | RecordJobResult) -> bool:
    """Return whether a command is about the round of its job that the build queued last, or names no round."""
    job = build.graph.jobs.get(command.job_id)
    return job is not None and command.round in (None, job.round)


def _supersede(build: Build, command: SupersedeBuild) -> list[BuildEvent]:
    if not build.can_be_superseded(command.ref, command.newer_build_id, running=command.running):
        return []
    killed = killed_event(build, graceful=build.has_cleanup).replace(superseded_by=command.newer_local_id)
    return [killed] if killed.graceful else [killed, finished_by_kill_event(evolve(build, killed), command.duration_ms)]


def _plan(build: Build, command: PlanBuild) -> list[BuildEvent]:
    planned = planned_event(build, command)
    after = evolve(build, planned)
    return [planned, finished_by_jobs_event(after, after.graph, (), 0)] if after.graph.is_finished else [planned]


def _on_job_finished(build: Build, command: RecordJobResult) -> list[BuildEvent]:
    """Record a job's result: finish the build after its last job, or queue new jobs if the build is not killed."""
    canceling = build.phase is Phase.CANCELING
    status = build.graph.effective_status(command.job_id, command.status, command.exit_code)
    ended = build.graph.with_statuses({command.job_id: status})
    graph = ended if canceling else ended.advance()
    advanced = advanced_event(build, graph, {command.job_id: status}).replace(
        exit_code=command.exit_code, exit_message=command.exit_message, output=command.output
    )
    if canceling and not graph.queued:
        # a killed build ends as killed, whatever the results of its jobs
        finished = finished_by_kill_event(build, command.duration_ms)
    elif not canceling and graph.is_finished:
        failures = (*build.failures, *([advanced] if status in FAILED else []))
        finished = finished_by_jobs_event(build, graph, failures, command.duration_ms)
    else:
        return [advanced]
    # the result of a build with one job implies the job's, unless only the job was canceled or the job may fail
    is_implied = canceling or final_statuses(build.graph.statuses, finished.status) == graph.statuses
    return [finished] if is_implied and len(graph.jobs) == 1 else [advanced, finished]


def _stop_job(build: Build, job_id: int) -> list[BuildEvent]:
    """Cancel one job.

    A job that has been queued is canceled through its own stream. A job that waits is canceled here.
    """
    status = build.graph.statuses.get(job_id)
    if status is None:
        raise RequestRejected("JOB_NOT_FOUND")
    if status is JobStatus.QUEUED:
        rounds = (build.graph.jobs[job_id].round,)
        return [advanced_event(build, build.graph, {}).replace(stopped=(job_id,), stopped_rounds=rounds)]
    if status not in BLOCKING:
        raise RequestRejected("JOB_STATUS", f"the job is finished: {status}")
    graph = build.graph.with_statuses({job_id: JobStatus.CANCELED}).advance()
    advanced = advanced_event(build, graph, {job_id: JobStatus.CANCELED}).replace(
        exit_code=KILLED_EXIT_CODE, exit_message=KILLED_MESSAGE
    )
    return (
        [advanced, finished_by_jobs_event(build, graph, (*build.failures, advanced), 0)]
        if graph.is_finished
        else [advanced]
    )


def rerun_jobs(build: Build, command: PlayBuildJob | RerunBuildJob | RetryBuild) -> Iterator[BuildEvent]:
    """Yield the events that queue the jobs that a user plays or retries. A finished build is resumed first.

    If the build needs a concurrency slot to resume, ContinueBuild queues the jobs later. Raises BUILD_STATUS,
    JOB_NOT_FOUND and JOB_STATUS.
    """
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
            return  # the job is queued already
        allowed = {MANUAL} if isinstance(command, PlayBuildJob) else FAILED | PASSED
        if status not in allowed:
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
    yield advanced_event(build, build.graph.rerun(job_ids), {})


build_decider = Decider[BuildCommand, Build, BuildEvent](
    commands=(
        LaunchBuild,
        PlanBuild,
        StartBuild,
        FailBuild,
        RecordJobResult,
        PlayBuildJob,
        RerunBuildJob,
        StopBuildJob,
        RetryBuild,
        ContinueBuild,
        StopBuild,
        SupersedeBuild,
        ChangeBuildPriority,
        DeleteBuild,
    ),
    stream=lambda command: f"build-{command.build_id}",
    initial=Build(),
    decide=decide,
    evolve=evolve,
    initial_commands=(LaunchBuild,),
)
