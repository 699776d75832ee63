"""Rows of Free Commit's paged lists."""

from gateway.adapters.free_commit.paging import create_page_writer
from gateway.framework.serializers import Moment, Shape


class Month(Shape):
    date: str
    duration: int


class ProjectLine(Shape):
    project_id: int
    project_name: str
    build_last_exit_code: int | None
    build_last_exit_message: str | None
    build_last_created_at: Moment | None


class DeveloperLine(Shape):
    developer_id: int
    user_username: str
    developer_email: str | None
    user_role: str | None


class SecretLine(Shape):
    secret_id: int
    secret_name: str
    secret_env: str | None
    secret_scope: str


DURATION_PAGE = create_page_writer(Month)
PROJECT_PAGE = create_page_writer(ProjectLine)
DEVELOPER_PAGE = create_page_writer(DeveloperLine)
SECRET_PAGE = create_page_writer(SecretLine)
