"""The plan of a build that is not launched."""

from contracts.builds.plan import LaunchVariable
from contracts.messages import Message, Query


class PlanProject(Query):
    """Compile the project's spec file at a branch, without launching a build. Answer: ProjectPlan.

    Errors: PROJECT_NOT_FOUND, LAUNCH_BUILD_NOT_ALLOWED, BUILD_REF_INVALID, BUILD_VARIABLES_INVALID,
    BUILD_VARIABLES_RESERVED, BUILD_VARIABLES_NOT_ALLOWED, TOO_MANY_REQUESTS.
    """

    project_id: int
    ref: str | None = None  # branch; None: that of the project
    variables: tuple[LaunchVariable, ...] = ()  # as in QueueBuild


class PlannedJobView(Message):
    name: str
    stage: str
    when: str
    allow_failure: bool
    needs: tuple[str, ...] | None  # names of the jobs that it waits for; None: all jobs of earlier stages
    tags: tuple[str, ...]
    image: str | None
    steps: tuple[str, ...]  # of a Free Commit job


class PlanError(Message):
    """The reason why no build of this commit can be planned."""

    code: str  # REPOSITORY_UNREACHABLE, REF_NOT_FOUND, SPEC_NOT_FOUND, SPEC_UNREADABLE or SPEC_INVALID
    message: str
    file: str = ""  # included file; empty: the spec file
    line: int | None = None  # from 1
    column: int | None = None


class ProjectPlan(Message):
    ref: str | None  # None: the branch does not exist, or the repository cannot be read
    sha: str | None
    spec_file_path: str
    jobs: tuple[PlannedJobView, ...] = ()
    warnings: tuple[str, ...] = ()
    errors: tuple[PlanError, ...] = ()
