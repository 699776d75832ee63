"""The plan of a build that is not launched."""

from contracts.builds.plan import LaunchVariable
from contracts.messages import Message, Query


class PlanProject(Query):
    """Compile the project's spec file at a branch, without launching a build. Answer: ProjectPlan.

    Errors: PROJECT_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, BUILD_REF_INVALID, BUILD_VARIABLES_INVALID,
    BUILD_VARIABLES_RESERVED, BUILD_VARIABLES_NOT_ALLOWED, TOO_MANY_REQUESTS.
    """

    project_id: int
    ref: str | None = None  # branch; None: the project's branch
    variables: tuple[LaunchVariable, ...] = ()  # as in QueueBuild


class PlannedJobView(Message):
    name: str
    stage: str
    when: str
    allow_failure: bool
    needs: tuple[str, ...] | None  # names of the jobs that this job waits for; None: all jobs of earlier stages
    tags: tuple[str, ...]
    image: str | None
    steps: tuple[str, ...]  # names of the steps of a Free Commit job; empty for a pipeline job


class PlanError(Message):
    """The reason why no plan could be made for the branch."""

    code: str  # REPOSITORY_UNREACHABLE, REF_NOT_FOUND, SPEC_NOT_FOUND, SPEC_UNREADABLE or SPEC_INVALID
    message: str
    file: str = ""  # name of the included file with the error; empty: the spec file
    line: int | None = None  # line of the error, from 1; None: unknown
    column: int | None = None


class ProjectPlan(Message):
    ref: str | None  # None: there is no plan, see `errors`
    sha: str | None
    spec_file_path: str
    jobs: tuple[PlannedJobView, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[PlanError, ...] = ()
