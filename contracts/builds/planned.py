"""What a build is made of: the project as it was at launch, and the jobs of the plan."""

from contracts.messages import Message


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


class PlannedJob(Message):
    """A job as the plan wants it; the same shape whatever dialect the spec file speaks."""

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

    @property
    def cleans_up(self) -> bool:
        return any(step.on_kill and not step.skipped for step in self.steps)
