"""What a build is made of: the project as it was at launch, and the jobs of the plan."""

from typing import Annotated, Literal

from pydantic import Field

from contracts.messages import Message

Priority = Annotated[int, Field(ge=-100, le=100)]
"""Of builds that wait, the higher one comes first; 0 unless an administrator says otherwise."""


class LaunchedProject(Message):
    """The project's settings as they were at launch; a build never reads them again."""

    project_id: int
    name: str
    owner_alias: str
    company_id: int | None = None  # the company that owns it
    alias: str
    repository: str  # without a login
    branch: str  # "*": the repository's default branch
    spec_file_path: str
    keep_number_build: int | None = None
    allow_concurrent_execution: bool = True
    protected_branches: tuple[str, ...] = ()


class PlannedStep(Message):
    name: str  # with its @
    script: str  # path from the checkout root, arguments may follow
    skipped: bool = False
    on_kill: bool = False  # runs only when the running build is killed
    after: bool = False  # runs when the others are over, however they ended
    timeout_seconds: int = 0  # 0: no limit of its own


class PlannedVariable(Message):
    key: str
    value: str
    expand: bool = True  # $NAMES in the value mean other variables


class PlannedImage(Message):
    name: str
    alias: str | None = None
    entrypoint: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    pull_policy: tuple[str, ...] = ()
    variables: tuple[PlannedVariable, ...] = ()  # of a service, beside those of the job


class PlannedArtifacts(Message):
    name: str | None = None
    paths: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    untracked: bool = False
    when: Literal["on_success", "on_failure", "always"] = "on_success"
    expire_in: str | None = None


class PlannedCache(Message):
    key: str = "default"
    paths: tuple[str, ...] = ()
    untracked: bool = False
    policy: str = "pull-push"
    when: Literal["on_success", "on_failure", "always"] = "on_success"
    fallback_keys: tuple[str, ...] = ()


class PlannedJob(Message):
    """A job as the plan wants it; the same shape whatever dialect the spec file speaks.

    A pipeline's job has `commands`; Free Commit's has scripts of the repository in `steps`.
    """

    job_id: int
    job_uuid: str
    name: str
    local_id: int = 0  # number of the job inside its project
    stage: str = "build"
    tags: tuple[str, ...] = ()
    steps: tuple[PlannedStep, ...] = ()
    image: str | None = None
    timeout_seconds: int = 3600
    max_attempts: int = 3
    delivery_id: str | None = None  # of the webhook whose body the job gets
    stage_place: int = 0  # stages follow each other by it
    needs: tuple[str, ...] | None = None  # names of the jobs it waits for; None: all of earlier stages
    fetches: tuple[str, ...] = ()  # names of the jobs whose artifacts it gets
    when: Literal["on_success", "on_failure", "always", "manual"] = "on_success"
    allow_failure: bool = False
    allow_failure_codes: tuple[int, ...] = ()  # exit codes that are no failure of the build
    retries: int = 0  # how often it is tried again after a failure
    retry_when: tuple[str, ...] = ()  # only after these reasons
    retry_codes: tuple[int, ...] = ()  # or after these exit codes; neither: after all failures
    variables: tuple[PlannedVariable, ...] = ()
    commands: tuple[str, ...] = ()  # lines of the script
    after_commands: tuple[str, ...] = ()
    container: PlannedImage | None = None  # what the spec file says of the image beyond its name
    services: tuple[PlannedImage, ...] = ()
    artifacts: PlannedArtifacts | None = None
    caches: tuple[PlannedCache, ...] = ()
    round: int = 0  # how often somebody wished it again

    @property
    def is_pipeline_job(self) -> bool:
        return bool(self.commands)

    @property
    def has_cleanup(self) -> bool:
        return bool(self.after_commands) or any(step.on_kill and not step.skipped for step in self.steps)
