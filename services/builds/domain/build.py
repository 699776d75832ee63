"""A build from launch to result."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from fnmatch import fnmatchcase
from typing import assert_never

from contracts.builds import (
    BuildCommand,
    BuildDeleted,
    BuildEvent,
    BuildFinished,
    BuildKilled,
    BuildPlanned,
    BuildPriorityChanged,
    BuildQueued,
    BuildStarted,
    BuildStatus,
    ChangeBuildPriority,
    DeleteBuild,
    EndJobOfBuild,
    FailBuild,
    JobStatus,
    KillBuild,
    PlanBuild,
    QueueBuild,
    StartBuild,
)
from contracts.errors import Refused
from libs.deciding import Decider

KILLED = 143


class Phase(StrEnum):
    NEW = "new"
    QUEUED = "queued"
    PLANNED = "planned"
    RUNNING = "running"
    CANCELING = "canceling"
    FINISHED = "finished"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Build:
    phase: Phase = Phase.NEW
    queued: BuildQueued | None = None
    job_ids: tuple[int, ...] = ()
    cleans_up: bool = False
    priority: int = 0

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
            return [_planned(build, command)]
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
        case ((Phase.PLANNED | Phase.RUNNING), EndJobOfBuild(job_id=job_id)) if job_id in build.job_ids:
            status = BuildStatus.SUCCESS if command.status is JobStatus.SUCCESS else BuildStatus.FAILED
            return [_finished(build, status, command.exit_code, command.exit_message, command.output, command.duration)]
        case ((Phase.PLANNED | Phase.RUNNING), KillBuild()) if build.cleans_up:
            return [_killed(build, graceful=True)]
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RUNNING | Phase.CANCELING), KillBuild()):
            return [_killed(build, graceful=False), _aborted(build, command.duration)]
        case Phase.CANCELING, EndJobOfBuild(job_id=job_id) if job_id in build.job_ids:
            return [_aborted(build, command.duration)]  # however the job ended
        case ((Phase.QUEUED | Phase.PLANNED | Phase.RUNNING | Phase.CANCELING), ChangeBuildPriority(priority=priority)):
            return [] if priority == build.priority else [_reordered(build, priority)]
        case Phase.FINISHED, DeleteBuild(build_id=build_id):
            return [BuildDeleted(build_id=build_id, project_id=build.launched.project_id, job_ids=build.job_ids)]
        case Phase.DELETED, (ChangeBuildPriority() | DeleteBuild()):
            raise Refused("BUILD_NOT_FOUND")
        case _, (PlanBuild() | FailBuild() | StartBuild() | EndJobOfBuild() | KillBuild()):
            return []  # already so, or already over
        case _:
            raise Refused("BUILD_STATUS", f"{type(command).__name__} while {build.phase}")


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
    )


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
    )


def _reordered(build: Build, priority: int) -> BuildPriorityChanged:
    queued = build.launched
    return BuildPriorityChanged(
        build_id=queued.build_id, project_id=queued.project_id, priority=priority, job_ids=build.job_ids
    )


def _killed(build: Build, *, graceful: bool) -> BuildKilled:
    queued = build.launched
    return BuildKilled(build_id=queued.build_id, project_id=queued.project_id, job_ids=build.job_ids, graceful=graceful)


def _aborted(build: Build, duration: int) -> BuildFinished:
    return _finished(build, BuildStatus.KILLED, KILLED, "Deployment aborted by user", None, duration)


def _finished(
    build: Build, status: BuildStatus, code: int, message: str | None, output: str | None, duration: int = 0
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
        duration=duration,
        ran=status is not BuildStatus.KILLED or build.phase not in (Phase.QUEUED, Phase.PLANNED),
    )


def evolve(build: Build, event: BuildEvent) -> Build:
    match event:
        case BuildQueued():
            return replace(build, phase=Phase.QUEUED, queued=event)
        case BuildPlanned(jobs=jobs):
            cleans_up = any(job.cleans_up for job in jobs)
            return replace(build, phase=Phase.PLANNED, job_ids=tuple(job.job_id for job in jobs), cleans_up=cleans_up)
        case BuildStarted():
            return replace(build, phase=Phase.RUNNING)
        case BuildKilled(graceful=graceful):
            return replace(build, phase=Phase.CANCELING) if graceful else build
        case BuildPriorityChanged(priority=priority):
            return replace(build, priority=priority)
        case BuildFinished():
            return replace(build, phase=Phase.FINISHED)
        case BuildDeleted():
            return replace(build, phase=Phase.DELETED)
        case _:
            assert_never(event)


build_decider = Decider[BuildCommand, Build, BuildEvent](
    commands=(QueueBuild, PlanBuild, StartBuild, FailBuild, EndJobOfBuild, KillBuild, ChangeBuildPriority, DeleteBuild),
    stream=lambda command: f"build-{command.build_id}",
    initial=Build(),
    decide=decide,
    evolve=evolve,
    creates=(QueueBuild,),
)
