"""Builds of a repository that requires credentials, which are stored encrypted."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from nats.aio.client import Client

from tests.support.external.git_server import GitServer, git_server
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.leak_search import LeakSearch
from tests.support.stacks.running_stack import RunningStack

PASSWORD = f"canary/{uuid4().hex}@{uuid4().hex}"
LEAKING_SCRIPT = r"""
git remote -v; cat .git/config; env
cat /proc/$PPID/environ 2>/dev/null | tr '\0' '\n'
echo over
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    root = tmp_path_factory.mktemp("served")
    create_sample_repository(
        root / "repository", {"build": LEAKING_SCRIPT, "test": f"echo 'ada:{PASSWORD}' {quote(PASSWORD, safe='')}\n"}
    )
    with git_server(root, f"ada:{PASSWORD}") as server:
        yield server


def url_with_password(server: GitServer, password: str) -> str:
    return server.url("repository", f"ada:{quote(password, safe='')}")


async def test_private_repository_credentials_are_stored_only_encrypted(
    stack: RunningStack, nats_client: Client, server: GitServer, tmp_path: Path
) -> None:
    bare = server.url("repository", "").replace("//@", "//")
    leaks = LeakSearch([PASSWORD, f"ada:{PASSWORD}", quote(PASSWORD, safe="")])
    with leaks.watch_command_lines() as command_lines:
        # covers both routes that accept credentials: creation and change
        project_id = stack.create_project(url_with_password(server, PASSWORD))
        body = {"project": {"repository": url_with_password(server, PASSWORD)}}
        changed = stack.admin.patch(f"/admin/projects/{project_id}/repository", json=body)
        build = stack.run_build(project_id)
    assert (build["exit_code"], stack.get_project(project_id)["repository"]) == (0, bare)
    assert any(bare in line for line in command_lines)

    log = stack.read_log(build["id"])
    assert f"Cloning {bare}" in log["init"]
    assert log["build"].endswith("over")
    assert "\n[MASKED] [MASKED]\n" in log["test"]
    leaks.search("log", str(log))
    leaks.search("answers", changed.text + str(stack.get_project(project_id)) + str(build))
    leaks.search_documents(stack.mongodb_url)
    await leaks.search_messages(nats_client)
    leaks.search_files(stack.data, tmp_path / "needles")
    assert leaks.findings == []


def test_a_url_without_credentials_removes_the_stored_ones(stack: RunningStack, server: GitServer) -> None:
    project_id = stack.create_project(url_with_password(server, PASSWORD))
    body = {"project": {"repository": stack.get_project(project_id)["repository"]}}
    assert stack.admin.patch(f"/admin/projects/{project_id}/repository", json=body).status_code == 200
    build = stack.run_build(project_id)
    assert (build["exit_code"], build["exit_message"]) == (128, "The repository could not be read")


async def test_wrong_repository_credentials_fail_the_build_and_stay_hidden(
    stack: RunningStack, nats_client: Client, server: GitServer, tmp_path: Path
) -> None:
    wrong = f"wrong-{uuid4().hex}"
    leaks = LeakSearch([wrong])
    with leaks.watch_command_lines():
        build = stack.run_build(stack.create_project(url_with_password(server, wrong)))
    assert (build["exit_code"], build["exit_message"]) == (128, "The repository could not be read")
    assert "Authentication failed" in build["output"]
    leaks.search("answers", str(build) + str(stack.read_log(build["id"])))
    leaks.search_documents(stack.mongodb_url)
    await leaks.search_messages(nats_client)
    leaks.search_files(stack.data, tmp_path / "needles")
    assert leaks.findings == []
