"""From a forge's push to the script that reads it."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.forges import github, github_push, gitlab, gitlab_push
from tests.support.repositories import commit, git, sample_repository
from tests.support.stack import Answer, RunningStack, until

READ = """
echo "commit $(git -C "$CI_PROJECT_DIR" log -1 --format=%H) of $CI_COMMIT_BRANCH"
echo "variable ${#FREE_COMMIT_REQUEST_BODY} $(printf %s "$FREE_COMMIT_REQUEST_BODY" | base64 -d | sha256sum)"
echo "file $(sha256sum < "$FREE_COMMIT_REQUEST_BODY_FILE")"
"""
PUSHER = {"github_username": "octo-ada", "gitlab_username": "tanuki-ada"}


@dataclass(frozen=True)
class Mill:
    """A project whose branch has moved on since the push."""

    stack: RunningStack
    project_id: int
    key: str
    pushed: str

    def send(self, headers: dict[str, str], body: bytes) -> Answer:
        with self.stack.client() as forge:
            answer = forge.post(f"/guest/webhooks/build/{self.project_id}", content=body, headers=headers)
        assert answer.status_code == 201, answer.text
        return dict(answer.json())

    def built(self, executor_id: str) -> tuple[Answer, list[str]]:
        """The finished build, and the lines that its script wrote."""
        [build] = until(lambda: [one for one in self._finished() if one["executor_id"] == executor_id], within=60)
        return build, lines_of(self.stack, build)

    def _finished(self) -> list[Answer]:
        return list(self.stack.admin.get(f"/developer/builds/by/project/{self.project_id}").json())


def lines_of(stack: RunningStack, build: Answer) -> list[str]:
    return stack.log(build["id"])["build"].splitlines()[1:4]


@pytest.fixture(scope="module")
def mill(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Mill:
    repository = sample_repository(tmp_path_factory.mktemp("pushed") / "repository", {"build": READ})
    pushed = git(repository, "rev-parse", "HEAD")
    commit(repository, {"ci/build.sh": "echo a later commit"})
    password = "correct horse battery"
    developer = stack.made("developer", username=f"ada-{uuid4().hex[:6]}", password=password, **PUSHER)
    project_id = stack.project(repository, developers_id=[developer["id"]])
    return Mill(stack, project_id, stack.shown(project_id)["signature_key"], pushed)


def digest(body: bytes) -> str:
    return f"{hashlib.sha256(body).hexdigest()}  -"


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_a_push_builds_its_commit_and_its_script_reads_what_the_forge_sent(mill: Mill, forge: str) -> None:
    body = github_push(mill.pushed) if forge == "github" else gitlab_push(mill.pushed)
    headers = github(mill.key, body) if forge == "github" else gitlab(mill.key)
    build, lines = mill.built(mill.send(headers, body)["executor_id"])
    assert (build["exit_code"], build["sha"], build["ref"]) == (0, mill.pushed, "refs/heads/main")
    length = -(-len(body) // 3) * 4
    assert lines == [f"commit {mill.pushed} of main", f"variable {length} {digest(body)}", f"file {digest(body)}"]


@pytest.mark.parametrize("size", [200 * 1024, 4 * 1024 * 1024])
def test_a_body_too_large_for_a_variable_is_in_the_file_alone(mill: Mill, size: int) -> None:
    more: dict[str, Any] = {"padding": 'a "quoted" line\n' * (size // 16)}
    body = github_push(mill.pushed, **more)
    build, lines = mill.built(mill.send(github(mill.key, body), body)["executor_id"])
    assert (len(body) > size, build["exit_code"]) == (True, 0)
    assert lines[1:] == [f"variable 0 {digest(b'')}", f"file {digest(body)}"]


def test_a_launch_by_hand_has_an_empty_body(mill: Mill, tmp_path: Path) -> None:
    repository = sample_repository(tmp_path / "repository", {"build": READ})
    build = mill.stack.run(mill.stack.project(repository))
    assert build["exit_code"] == 0
    assert lines_of(mill.stack, build)[1:] == [f"variable 0 {digest(b'')}", f"file {digest(b'')}"]
