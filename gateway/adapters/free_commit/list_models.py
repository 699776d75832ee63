"""Response models of the rows in Free Commit's paged lists."""

from pydantic import Field

from gateway.adapters.free_commit.paging import create_page_writer
from gateway.forwarding.serializers import Moment, ResponseModel
from gateway.schemas.samples import MOMENT


class Month(ResponseModel):
    date: str = Field(description="year and month like `2026-3`, without a leading zero", examples=["2026-3"])
    duration: int = Field(description="total duration of the month's builds in seconds")


class ProjectLine(ResponseModel):
    project_id: int = Field(description="number of the project", examples=[17])
    project_name: str = Field(description="current name", examples=["website"])
    build_last_exit_code: int | None = Field(description="exit code of the latest finished build, 0 for success")
    build_last_exit_message: str | None = Field(
        description="failure message of the latest finished build; null for success"
    )
    build_last_created_at: Moment | None = Field(
        description="when the latest finished build was queued; null: no finished build",
        examples=[MOMENT],
    )


class DeveloperLine(ResponseModel):
    developer_id: int = Field(examples=[17])
    user_username: str = Field(examples=["ivan"])
    developer_email: str | None = Field(examples=["ivan@example.org"])
    user_role: str | None = Field(description="the user's strongest role; null: none", examples=["ROLE_DEVELOPER"])


class SecretLine(ResponseModel):
    secret_id: int = Field(examples=[17])
    secret_name: str = Field(description="name of the environment variable", examples=["DEPLOY_TOKEN"])
    secret_env: str | None = Field(description="label, without effect on builds", examples=["production"])
    secret_scope: str = Field(
        description="`PUBLIC`: for builds of all projects; `PRIVATE`: for builds of its projects", examples=["PRIVATE"]
    )


DURATION_PAGE = create_page_writer(Month)
PROJECT_PAGE = create_page_writer(ProjectLine)
DEVELOPER_PAGE = create_page_writer(DeveloperLine)
SECRET_PAGE = create_page_writer(SecretLine)
