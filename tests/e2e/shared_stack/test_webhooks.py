"""A push notification from a forge starts a build, whose script reads the request body."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.support.external.forge_webhooks import github_headers, github_push_body, gitlab_headers, gitlab_push_body
from tests.support.external.repositories import commit_files, create_sample_repository, run_git
from tests.support.stacks.running_stack import JsonObject, RunningStack
from tests.support.waiting import wait_until

READING_SCRIPT = """
echo "commit $(git -C "$CI_PROJECT_DIR" log -1 --format=%H) of $CI_COMMIT_BRANCH"
echo "variable ${#FREE_COMMIT_REQUEST_BODY} $(printf %s "$FREE_COMMIT_REQUEST_BODY" | base64 -d | sha256sum)"
echo "file $(sha256sum < "$FREE_COMMIT_REQUEST_BODY_FILE")"
"""
PUSHER = {"github_username": "octo-ada", "gitlab_username": "tanuki-ada"}


@dataclass(frozen=True)
class WebhookProject:
    """A project with a webhook. The branch is ahead of `pushed`, the commit that the notification names."""

    stack: RunningStack
    project_id: int
    key: str
    pushed: str

    def send(self, headers: dict[str, str], body: bytes) -> JsonObject:
        with self.stack.create_client() as forge:
            response = forge.post(f"/guest/webhooks/build/{self.project_id}", content=body, headers=headers)
        assert response.status_code == 201, response.text
        return dict(response.json())

    def wait_for_build(self, delivery_id: str) -> tuple[JsonObject, list[str]]:
        """Wait until the build has finished. Return the build and the lines that its script printed."""
        [build] = wait_until(lambda: self._finished_builds_of(delivery_id), within=60)
        return build, script_output(self.stack, build)

    def _finished_builds_of(self, delivery_id: str) -> list[JsonObject]:
        page = self.stack.admin.get("/developer/builds", params={"delivery": delivery_id}).raise_for_status().json()
        return [build for build in page["builds"] if build["finished"]]


def script_output(stack: RunningStack, build: JsonObject) -> list[str]:
    return stack.read_log(build["id"])["build"].splitlines()[1:4]


@pytest.fixture(scope="module")
def webhook_project(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> WebhookProject:
    repository = create_sample_repository(tmp_path_factory.mktemp("pushed") / "repository", {"build": READING_SCRIPT})
    pushed = run_git(repository, "rev-parse", "HEAD")
    commit_files(repository, {"ci/build.sh": "echo a later commit"})
    password = "correct horse battery"
    developer = stack.create("developer", username=f"ada-{uuid4().hex[:6]}", password=password, **PUSHER)
    project_id = stack.create_project(repository, developers_id=[developer["id"]])
    return WebhookProject(stack, project_id, stack.get_project(project_id)["signature_key"], pushed)


def digest(body: bytes) -> str:
    return f"{hashlib.sha256(body).hexdigest()}  -"


@pytest.mark.parametrize("forge", ["github", "gitlab"])
def test_a_push_builds_its_commit_and_the_script_reads_the_webhook_body(
    webhook_project: WebhookProject, forge: str
) -> None:
    body = github_push_body(webhook_project.pushed) if forge == "github" else gitlab_push_body(webhook_project.pushed)
    headers = github_headers(webhook_project.key, body) if forge == "github" else gitlab_headers(webhook_project.key)
    build, lines = webhook_project.wait_for_build(webhook_project.send(headers, body)["delivery_id"])
    assert (build["exit_code"], build["sha"], build["ref"]) == (0, webhook_project.pushed, "refs/heads/main")
    length = -(-len(body) // 3) * 4
    assert lines == [
        f"commit {webhook_project.pushed} of main",
        f"variable {length} {digest(body)}",
        f"file {digest(body)}",
    ]


@pytest.mark.parametrize("size", [200 * 1024, 4 * 1024 * 1024])
def test_a_large_webhook_body_is_available_only_as_a_file(webhook_project: WebhookProject, size: int) -> None:
    more: dict[str, Any] = {"padding": 'a "quoted" line\n' * (size // 16)}
    body = github_push_body(webhook_project.pushed, **more)
    build, lines = webhook_project.wait_for_build(
        webhook_project.send(github_headers(webhook_project.key, body), body)["delivery_id"]
    )
    assert (len(body) > size, build["exit_code"]) == (True, 0)
    assert lines[1:] == [f"variable 0 {digest(b'')}", f"file {digest(body)}"]


def test_a_manual_launch_has_an_empty_webhook_body(webhook_project: WebhookProject, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": READING_SCRIPT})
    build = webhook_project.stack.run_build(webhook_project.stack.create_project(repository))
    assert build["exit_code"] == 0
    assert script_output(webhook_project.stack, build)[1:] == [f"variable 0 {digest(b'')}", f"file {digest(b'')}"]
