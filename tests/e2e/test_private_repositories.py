"""A repository that asks for a login: it is built, and the login is found nowhere but sealed."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import pytest
from nats.aio.client import Client

from tests.support.git_server import GitServer, git_server
from tests.support.leaks import Leaks
from tests.support.repositories import sample_repository
from tests.support.stack import RunningStack

PASSWORD = f"canary/{uuid4().hex}@{uuid4().hex}"
NOSY = r"""
git remote -v; cat .git/config; env
cat /proc/$PPID/environ 2>/dev/null | tr '\0' '\n'
echo over
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    root = tmp_path_factory.mktemp("served")
    sample_repository(
        root / "repository", {"build": NOSY, "test": f"echo 'ada:{PASSWORD}' {quote(PASSWORD, safe='')}\n"}
    )
    with git_server(root, f"ada:{PASSWORD}") as server:
        yield server


def address(server: GitServer, password: str) -> str:
    return server.url("repository", f"ada:{quote(password, safe='')}")


async def test_the_login_of_a_private_repository_is_found_nowhere_but_sealed(
    stack: RunningStack, nats: Client, server: GitServer, tmp_path: Path
) -> None:
    bare = server.url("repository", "").replace("//@", "//")
    leaks = Leaks([PASSWORD, f"ada:{PASSWORD}", quote(PASSWORD, safe="")])
    with leaks.in_command_lines() as command_lines:
        # changed once, so that both ways are gone
        project_id = stack.project(address(server, PASSWORD))
        body = {"project": {"repository": address(server, PASSWORD)}}
        changed = stack.admin.patch(f"/admin/projects/{project_id}/repository", json=body)
        build = stack.run(project_id)
    assert (build["exit_code"], stack.shown(project_id)["repository"]) == (0, bare)
    assert any(bare in line for line in command_lines)

    log = stack.log(build["id"])
    assert f"Cloning {bare}" in log["init"]
    assert log["build"].endswith("over")
    assert "\n[MASKED] [MASKED]\n" in log["test"]
    leaks.look("log", str(log))
    leaks.look("answers", changed.text + str(stack.shown(project_id)) + str(build))
    leaks.in_documents(stack.mongodb_url)
    await leaks.in_messages(nats)
    leaks.in_files(stack.data, tmp_path / "needles")
    assert leaks.found == []


def test_an_address_without_a_login_takes_the_former_one_away(stack: RunningStack, server: GitServer) -> None:
    project_id = stack.project(address(server, PASSWORD))
    body = {"project": {"repository": stack.shown(project_id)["repository"]}}
    assert stack.admin.patch(f"/admin/projects/{project_id}/repository", json=body).status_code == 200
    build = stack.run(project_id)
    assert (build["exit_code"], build["exit_message"]) == (128, "The repository could not be read")


async def test_a_wrong_login_ends_the_build_and_does_not_show(
    stack: RunningStack, nats: Client, server: GitServer, tmp_path: Path
) -> None:
    wrong = f"wrong-{uuid4().hex}"
    leaks = Leaks([wrong])
    with leaks.in_command_lines():
        build = stack.run(stack.project(address(server, wrong)))
    assert (build["exit_code"], build["exit_message"]) == (128, "The repository could not be read")
    assert "Authentication failed" in build["output"]
    leaks.look("answers", str(build) + str(stack.log(build["id"])))
    leaks.in_documents(stack.mongodb_url)
    await leaks.in_messages(nats)
    leaks.in_files(stack.data, tmp_path / "needles")
    assert leaks.found == []
