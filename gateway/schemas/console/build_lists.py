"""Response models of lists of builds across projects."""

from pydantic import Field

from gateway.forwarding.serializers import Moment, ResponseModel, serialize
from gateway.schemas.console.build_overviews import SHA, NamedUser
from gateway.schemas.samples import MOMENT, UUID


class ListedBuild(ResponseModel):
    id: int = Field(description="number, unique among resources of the same type")
    local_id: int = Field(description="number within the project", examples=[17])
    executor_id: str = Field(description="UUID of this build while it waited and ran", examples=[UUID])
    project_id: int = Field(description="number of the project", examples=[17])
    project_name: str = Field(description="name of the project when the build was launched", examples=["website"])
    status: str = Field(
        description="`QUEUED`, `PLANNED`, `RUNNING`, `CANCELING`, `SUCCESS`, `FAILED` or `KILLED`", examples=["SUCCESS"]
    )
    finished: bool = Field(description="whether the build has ended")
    priority: int = Field(description="-100 to 100, default 0; higher priority runs first")
    ref: str | None = Field(description="`refs/heads/...` or `refs/tags/...`", examples=["refs/heads/main"])
    sha: str | None = Field(description="commit; null until it is resolved", examples=[SHA])
    message: str = Field(description="first line of the commit message", examples=["Sort the results"])
    source: str = Field(description="`push`, `web`, `api` for a personal token, or `schedule`", examples=["push"])
    initiator: NamedUser = Field(description="who launched the build")
    runner: str | None = Field(description="name of the first runner; null until assigned", examples=["machine-1"])
    exit_code: int | None = Field(description="0 for success; null until finished", examples=[0])
    exit_message: str | None = Field(description="failure message; null for success")
    created_at: Moment | None = Field(validation_alias="queued_at", description="when it was queued", examples=[MOMENT])
    started_at: Moment | None = Field(description="when a runner started it; null before", examples=[MOMENT])
    completed_at: Moment | None = Field(description="null until finished", examples=[MOMENT])


class BuildPage(ResponseModel):
    builds: tuple[ListedBuild, ...] = Field(validation_alias="rows", description="newest first")
    next: str | None = Field(description="`after` of the next page; null at the end")


class ProjectBuilds(ResponseModel):
    project_id: int = Field(description="number of the project", examples=[17])
    builds: tuple[ListedBuild, ...] = Field(description="newest first")


class RecentBuilds(ResponseModel):
    projects: tuple[ProjectBuilds, ...] = Field(description="projects that have builds, in the requested order")


BUILD_PAGE = serialize(BuildPage)
RECENT_BUILDS = serialize(RecentBuilds)
