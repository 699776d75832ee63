"""The plan of a build: the project's settings at launch, and the jobs."""

from typing import Annotated, Literal, Self

from pydantic import Field

from contracts.messages import Message

Priority = Annotated[int, Field(ge=-100, le=100)]
"""Priority in the queue; higher comes first. Default: 0. Administrators can change it."""


class LaunchedProject(Message):
    """The project's settings at launch. Later changes of the project do not affect the build."""

    project_id: int
    name: str
    owner_alias: str  # empty in published events if the owner is a user, and in the log after the user was erased
    company_id: int | None = None  # the company that owns the project
    alias: str
    repository: str  # URL without a login
    branch: str  # "*": the repository's default branch
    spec_file_path: str
    keep_number_build: int | None = None
    allow_concurrent_execution: bool = True
    protected_branches: tuple[str, ...] = ()

    def for_publication(self) -> Self:
        """Return the settings without the name of a user."""
        return self if self.company_id else self.replace(owner_alias="")


class LaunchVariable(Message):
    """A variable for all jobs of one build, given at its launch. Everybody who sees the build sees the value."""

    name: str
    value: str


class LaunchSchedule(Message):
    """The schedule that launched a build, as it was then."""

    id: int
    description: str  # empty: none


class PlannedStep(Message):
    """A step of a Free Commit job: a script of the repository.

    A pipeline job has one step for its script and one for its `after_script`. Their `script` is empty.
    """

    name: str  # including the @
    script: str  # path relative to the checkout, optionally followed by arguments
    skipped: bool = False
    on_kill: bool = False  # runs only if the job or its build is canceled while the job runs
    after: bool = False  # runs after the other steps, whatever their results
    timeout_seconds: int = 0  # 0: only the limit of the job


class PlannedVariable(Message):
    key: str
    value: str
    expand: bool = True  # whether references to other variables in the value are replaced


class PlannedImage(Message):
    """A container image of a job, or of one of its services."""

    name: str
    alias: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    pull_policy: tuple[str, ...] = ()
    variables: tuple[PlannedVariable, ...] = ()  # variables of a service, in addition to those of the job


class PlannedArtifacts(Message):
    name: str | None = None
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: Literal["on_success", "on_failure", "always"] = "on_success"
    expire_in: str | None = None


class PlannedReports(Message):
    """Reports of a job. The runner uploads them whatever the result of the job, as in GitLab."""

    junit: tuple[str, ...] = ()  # paths of JUnit XML files
    expire_in: str | None = None


class PlannedCache(Message):
    """A cache that a job restores and saves."""

    key: str = "default"
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = "pull-push"
    when: Literal["on_success", "on_failure", "always"] = "on_success"
    fallback_keys: tuple[str, ...] = ()


class PlannedJob(Message):
    """A planned job, independent of the format of the spec file.

    A pipeline job has `commands`; a Free Commit job has scripts of the repository in `steps`.
    """

    job_id: int
    job_uuid: str
    name: str
    local_id: int = 0  # number in its project
    stage: str = "build"
    tags: tuple[str, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3
    delivery_id: str | None = None  # id of the webhook delivery whose payload the job gets
    stage_place: int = 0  # position of the job's stage in the order of stages
    needs: tuple[str, ...] | None = None  # names of the jobs that this job waits for; None: all jobs of earlier stages
    fetches: tuple[str, ...] = ()  # names of the jobs whose artifacts the job downloads
    when: Literal["on_success", "on_failure", "always", "manual"] = "on_success"
    allow_failure: bool = False
    allow_failure_codes: tuple[int, ...] = ()  # exit codes that do not fail the build
    retries: int = 0  # maximum number of retries after failures
    retry_when: tuple[str, ...] = ()  # failure reasons to retry
    retry_codes: tuple[int, ...] = ()  # exit codes to retry; if this and `retry_when` are empty: all failures
    variables: tuple[PlannedVariable, ...] = ()
    commands: tuple[str, ...] = ()  # lines of the script
    after_commands: tuple[str, ...] = ()
    container: PlannedImage | None = None  # the image with its options
    services: tuple[PlannedImage, ...] = ()
    artifacts: PlannedArtifacts | None = None
    reports: PlannedReports | None = None
    coverage: str = ""  # pattern in slashes, whose last match in the log contains the coverage in percent
    caches: tuple[PlannedCache, ...] = ()
    round: int = 0  # how many times the job was queued again by a user

    @property
    def is_pipeline_job(self) -> bool:
        """Whether the job comes from a pipeline file."""
        return bool(self.commands)

    @property
    def has_cleanup(self) -> bool:
        """Whether the job has steps to run after a cancellation."""
        return bool(self.after_commands) or any(step.on_kill and not step.skipped for step in self.steps)
