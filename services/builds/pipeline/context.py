"""Context of a compilation: what is known of a build before its jobs are planned."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from contracts.builds import BuildRow, LaunchedProject, LaunchSchedule, LaunchVariable
from contracts.errors import RequestRejected
from contracts.projects import PullRequest
from services.builds.domain.protected_refs import is_protected_ref
from services.builds.pipeline.rules.repository_tree import RepositoryTree


@dataclass(frozen=True, slots=True)
class PipelineContext:
    """What conditions and variables of a pipeline may refer to."""

    project: LaunchedProject
    build_id: int
    local_id: int
    ref: str  # refs/heads/... or refs/tags/..., or the head of a pull request
    sha: str
    url: str  # URL of this server, without a trailing slash
    default_branch: str = ""
    source: str = "web"
    initiator: str = ""
    protected: bool = False
    message: str = ""
    before_sha: str = ""
    initiator_id: int = 0
    queued_at: datetime | None = None
    variables: tuple[LaunchVariable, ...] = ()  # variables of the launch
    schedule: LaunchSchedule | None = None  # the schedule that launched the build
    pull_request: PullRequest | None = None
    # secrets of the project; used only to evaluate conditions
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    tree: RepositoryTree | None = None  # files of the commit; None: not loaded
    files: Mapping[str, bytes | None] = field(default_factory=dict)  # included files: path -> content, None if missing

    @property
    def ref_name(self) -> str:
        """The name of the branch or tag; for a pull request, the name of its source branch."""
        if self.pull_request is not None:
            return self.pull_request.source_branch
        return self.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")

    @property
    def is_tag(self) -> bool:
        return self.ref.startswith("refs/tags/")

    @property
    def is_branch(self) -> bool:
        return not self.is_tag and self.pull_request is None


def create_context(build: BuildRow, ref: str, sha: str, url: str, default_branch: str, message: str) -> PipelineContext:
    """Return the context of a build. Secrets, files and the repository tree are added by the planner."""
    if build.project is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    return PipelineContext(
        project=build.project,
        build_id=build.id,
        local_id=build.local_id,
        ref=ref,
        sha=sha,
        url=url,
        default_branch=default_branch,
        source=build.source,
        initiator=build.initiator_name,
        initiator_id=build.initiator_id,
        before_sha=build.before_sha,
        queued_at=build.queued_at,
        protected=is_protected_ref(ref, build.project.protected_branches),
        message=message,
        variables=build.variables,
        schedule=build.schedule,
        pull_request=build.pull_request,
    )
