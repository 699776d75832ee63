"""Statuses and commands of builds."""

from enum import StrEnum
from typing import Any, ClassVar

from pydantic import SerializerFunctionWrapHandler, model_serializer

from contracts.builds.plan import LaunchSchedule, LaunchVariable, Priority
from contracts.messages import Command
from contracts.projects import PullRequest


class BuildStatus(StrEnum):
    QUEUED = "QUEUED"
    PLANNED = "PLANNED"
    RUNNING = "RUNNING"
    CANCELING = "CANCELING"  # killed, while its jobs run their cleanup steps
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    KILLED = "KILLED"


class QueueBuild(Command):
    """Launch a build. With a `delivery_id` or a `schedule`, the permission to launch was checked earlier.

    Errors: PROJECT_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, BUILD_REF_INVALID, BUILD_VARIABLES_INVALID,
    BUILD_VARIABLES_RESERVED, BUILD_VARIABLES_NOT_ALLOWED.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset(
        {
            "build_id",
            "local_id",
            "executor_id",
            "queued_at",
            "project",
            "initiator_id",
            "initiator_name",
            "timeout_seconds",
            "max_attempts",
        }
    )

    project_id: int
    ignore_steps: tuple[str, ...] = ()
    sha: str | None = None  # the pushed commit, if a webhook launched the build
    ref: str | None = None  # the pushed ref, or the branch that a user chose; None: the project's branch
    before_sha: str = ""  # commit of the ref before the push
    source: str = "web"  # push, merge_request_event, web (after a login), api (with a personal token) or schedule
    delivery_id: str | None = None  # webhook delivery that launched the build; its id is also the executor_id
    variables: tuple[LaunchVariable, ...] = ()  # given by the user, for all jobs of the build
    schedule: LaunchSchedule | None = None  # schedule that launched the build; sent by the projects service only
    pull_request: PullRequest | None = None  # the pull or merge request of which `sha` is the head

    @model_serializer(mode="wrap")
    def _omit_new_fields(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out empty fields that release 0.2.0 does not have: its services reject them."""
        fields: dict[str, Any] = serialize(self)
        new = ("variables", "schedule", "pull_request")
        return {name: fields[name] for name in fields if fields[name] or name not in new}


class PlayJob(Command):
    """Start a manual job, which resumes a finished build. Nothing changes if the job is queued or running.

    Errors: JOB_STATUS if the job does not wait for a manual start, JOB_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and
    BUILD_STATUS, for example while the build is being killed.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"build_id"})

    job_id: int


class RetryJob(Command):
    """Run a finished job again. Skipped jobs then wait for their upstream jobs again. A finished build is resumed.

    Nothing changes if the job is queued or running. Errors: JOB_STATUS if the job has not been queued yet or was
    skipped, JOB_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS, for example while the build is being killed.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"build_id"})

    job_id: int


class CancelBuildJob(Command, wire_name="StopJob"):
    """Cancel a running, queued or waiting job. For the jobs that wait for it, it counts as failed.

    Errors: JOB_STATUS if the job is finished or skipped, JOB_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS, for
    example if the build is finished.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"build_id"})

    job_id: int


class RetryBuild(Command):
    """Run all failed and canceled jobs again. Skipped jobs then wait for their upstream jobs again.

    A finished build is resumed. Errors: BUILD_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, and BUILD_STATUS, for example if no
    job failed or was canceled.
    """

    build_id: int


class KillBuild(Command):
    """Kill a build, given by one of the two ids.

    If its jobs have cleanup steps, these run first; a second kill does not wait for them. A kill of a finished build by
    `build_id` changes nothing. Errors: BUILD_NOT_FOUND, and EXECUTOR_NOT_FOUND if no unfinished build has the
    `executor_id`.
    """

    former_fields: ClassVar[frozenset[str]] = frozenset({"duration"})

    build_id: int = 0
    executor_id: str = ""


class ChangeBuildPriority(Command):
    """Change the priority of a build's jobs in the queue.

    Errors: BUILD_NOT_FOUND, and BUILD_STATUS if the build is finished.
    """

    build_id: int
    priority: Priority


class DeleteBuild(Command):
    """Delete a finished build with its jobs, logs and artifacts.

    Errors: BUILD_NOT_FOUND, and BUILD_STATUS if the build is not finished.
    """

    build_id: int
