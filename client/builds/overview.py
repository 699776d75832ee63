"""Builds, jobs and projects, read from the API."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from client.errors import ApiError, UsageError
from client.http_client import Client

FINISHED_BUILD = ("SUCCESS", "FAILED", "KILLED")
FAILED_JOB = ("FAILED", "WARNING", "CANCELED")
WITHOUT_LOG = ("CREATED", "MANUAL", "QUEUED", "SKIPPED")
PAGE_SIZE = 100

Json = dict[str, Any]


def get_overview(client: Client, build_id: str) -> Json:
    """Return a build with its jobs. `project` is the name of its project."""
    build: Json = client.get(f"/developer/builds/{quote_id(build_id)}/overview")
    return {**build, "project": build["project"]["name"], "project_id": build["project"]["id"]}


def get_jobs(client: Client, build_id: str | int) -> list[Json]:
    jobs: list[Json] = client.get(f"/developer/builds/{quote_id(build_id)}/jobs")
    return jobs


def iterate_builds(client: Client, project: str = "", status: str = "") -> Iterator[Json]:
    """Yield the builds of a project or of all projects, newest first, with the project's name as `project`."""
    filters: Json = {"limit": PAGE_SIZE}
    if project:
        filters["project"] = find_project(client, project)["id"]
    if status:
        filters["status"] = status
    while True:
        page = client.get("/developer/builds", **filters)
        for build in page["builds"]:
            yield {"id": build["id"], "project": build["project_name"], **build}
        if page["next"] is None:
            return
        filters["after"] = page["next"]


def find_project(client: Client, name: str) -> Json:
    """Return the project with this id, name, or `owner/alias`.

    Raises ApiError with PROJECT_NOT_FOUND, and UsageError if several projects have the name.
    """
    if name.isascii() and name.isdigit():
        project: Json = client.get(f"/developer/projects/{name}")
        return project
    found = [row for row in client.get("/developer/projects") if name in project_names(row)]
    if not found:
        raise ApiError(404, "PROJECT_NOT_FOUND", f"There is no project {name}, or you cannot see it.")
    if len(found) > 1:
        choices = ", ".join(f"{row['id']} ({row['owner_alias']}/{row['alias']})" for row in found)
        raise UsageError(f"Several projects are named {name}; use an id: {choices}.")
    return dict(found[0])


def project_names(project: Json) -> tuple[str, str]:
    return project["name"], f"{project['owner_alias']}/{project['alias']}"


def select_jobs(jobs: Iterable[Json], names: Sequence[str], *, failed: bool) -> Iterator[Json]:
    """Yield the jobs with these names or ids (default: all); with `failed`, only those that failed or were canceled."""
    for job in jobs:
        if names and not {job["name"], str(job["id"])} & set(names):
            continue
        if not failed or job["status"] in FAILED_JOB:
            yield job


def is_successful(build: Json) -> bool:
    return bool(build["status"] == "SUCCESS")


def quote_id(text: str | int) -> str:
    """Return an id for use in a path. Raises UsageError if it contains anything but letters, digits and dashes."""
    if not str(text).replace("-", "").isalnum():
        raise UsageError(f"{text!r} is not an id.")
    return str(text)
