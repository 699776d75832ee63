"""Credentials of a private repository in the job payload."""

from datetime import UTC, datetime

import pytest

from contracts.builds import Assignment, LaunchedProject
from gateway.adapters.gitlab.job_payload import build_job_payload

ASSIGNMENT = Assignment(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    attempt=1,
    token="job-token",
    name="build",
    stage="build",
    ref="refs/heads/main",
    sha="f9a06e6e677efa280834f7bb7d17f5355f1e31df",
    project=LaunchedProject(
        project_id=84,
        name="Mill",
        owner_alias="ivan",
        alias="mill",
        repository="https://forge.example/mill.git",
        branch="main",
        spec_file_path="/ci.yaml",
    ),
    script=("echo hello",),
    variables=(),
    image=None,
    timeout_seconds=3600,
    queued_at=datetime(2026, 1, 2, 12, tzinfo=UTC),
)


@pytest.mark.parametrize(
    ("login", "url"),
    [
        (None, "https://forge.example/mill.git"),
        ("ada:pa@ss", "https://ada:pa%40ss@forge.example/mill.git"),
        ("a-token", "https://a-token@forge.example/mill.git"),
    ],
)
def test_a_runner_gets_repository_credentials_only_in_the_url(login: str | None, url: str) -> None:
    job = build_job_payload(ASSIGNMENT.replace(repository_login=login), None)
    assert job["git_info"].pop("repo_url") == url
    assert str(login) not in str(job).replace("None", "")


def test_the_repr_of_an_assignment_hides_the_repository_credentials() -> None:
    assert "hush" not in repr(ASSIGNMENT.replace(repository_login="ada:hush"))
