"""What a pipeline's jobs may know of their build."""

from fnmatch import fnmatchcase

from contracts.builds import BuildRow
from contracts.errors import RequestRejected
from services.builds.pipeline.variables import PipelineContext


def create_context(build: BuildRow, ref: str, sha: str, url: str, default_branch: str, message: str) -> PipelineContext:
    if build.project is None:
        raise RequestRejected("PROJECT_NOT_FOUND")
    name = ref.removeprefix("refs/heads/").removeprefix("refs/tags/")
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
        protected=any(fnmatchcase(name, pattern) for pattern in build.project.protected_branches),
        message=message,
    )
