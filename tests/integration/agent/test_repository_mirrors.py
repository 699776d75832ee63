"""Mirrors of repositories on the agent's machine: what is fetched, which jobs use a mirror, and when it is removed."""

import os
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from agent.checkouts import repository_mirrors
from agent.checkouts.repository_mirrors import RepositoryMirrors
from agent.config import Config
from infra.demo.git_server import GitRequestHandler, GitServer
from tests.integration.agent.agent_runs import GIT_COMMAND, agent_config, job_payload, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer

FILE_BYTES = 300_000
CHECK = ("test $(wc -c < noise) = 300000", "git rev-parse HEAD origin/main", "git rev-list --count HEAD", "git fsck")


class CountingHandler(GitRequestHandler):
    """Records the size of each response of the git server."""

    sizes: ClassVar[list[int]] = []

    def _run_backend(self, body: bytes) -> bytes:
        try:
            response = super()._run_backend(body)
        except subprocess.CalledProcessError:  # git has no such commit
            response = b"Status: 500 Internal Server Error\r\n\r\n"
        self.sizes.append(len(response))
        return response


@pytest.fixture
def sizes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    responses: list[int] = []
    monkeypatch.setattr(CountingHandler, "sizes", responses)
    return responses


@pytest.fixture
def git_url(repository: Path, sizes: list[int]) -> Iterator[str]:
    (repository / "noise").write_bytes(os.urandom(FILE_BYTES))
    commit(repository, "noise")
    server = GitServer(repository.parent, handler=CountingHandler)
    with server.run_in_thread():
        yield f"http://127.0.0.1:{server.server_port}/repository"


def commit(repository: Path, message: str) -> str:
    for command in (["add", "."], ["commit", "-q", "--allow-empty", "-m", message]):
        subprocess.run([*GIT_COMMAND, *command], cwd=repository, check=True)
    return subprocess.check_output(["git", "rev-parse", "HEAD"], cwd=repository, text=True).strip()


def mirrored_job(number: int, repository: Path, url: str, *script: str, project: int = 5) -> dict[str, Any]:
    payload = job_payload(number, repository, *CHECK, *script, job_info={"name": "job", "project_id": project})
    payload["git_info"] |= {"repo_url": url, "refspecs": [f"+{payload['git_info']['sha']}:refs/remotes/origin/main"]}
    payload["git_info"]["depth"] = 2
    return payload


async def run_job(gitlab: FakeGitLabServer, config: Config, payload: dict[str, Any]) -> str:
    """Run a job and return its log. It must succeed."""
    gitlab.pending_jobs.put_nowait(payload)
    async with running_agent(config):
        final = await gitlab.wait_for_final_state(payload["id"])
    log = gitlab.log_text(payload["id"])
    assert final["state"] == "success", log
    return log


async def test_a_later_build_of_a_project_fetches_only_what_is_new(
    gitlab: FakeGitLabServer, repository: Path, git_url: str, sizes: list[int], tmp_path: Path
) -> None:
    config = agent_config(gitlab, tmp_path)
    poison = "for f in .git/objects/pack/*; do chmod u+w $f; echo poison > $f; done"
    await run_job(gitlab, config, mirrored_job(1, repository, git_url, poison))
    assert sum(sizes) > FILE_BYTES
    sizes.clear()
    await run_job(gitlab, config, mirrored_job(2, repository, git_url))
    assert sizes == []
    head = commit(repository, "third")
    log = await run_job(gitlab, config, mirrored_job(3, repository, git_url))
    assert 0 < sum(sizes) < 10_000
    assert log.count(f"{head}\n") == 2
    assert "\n2\n" in log
    sizes.clear()
    await run_job(gitlab, config, mirrored_job(4, repository, git_url, project=6))
    assert sum(sizes) > FILE_BYTES


@pytest.mark.parametrize("damage", ["objects", "killed git"])
async def test_a_damaged_mirror_is_replaced(
    gitlab: FakeGitLabServer, repository: Path, git_url: str, sizes: list[int], tmp_path: Path, damage: str
) -> None:
    config = agent_config(gitlab, tmp_path)
    await run_job(gitlab, config, mirrored_job(1, repository, git_url))
    [mirror] = (path for path in (tmp_path / "builds" / "mirrors").iterdir() if path.is_dir())
    if damage == "objects":
        for pack in (mirror / "objects/pack").iterdir():
            pack.chmod(0o644)
            pack.write_bytes(b"")
    else:
        commit(repository, "new")
        (mirror / "shallow.lock").touch()
    await run_job(gitlab, config, mirrored_job(2, repository, git_url))
    commit(repository, "newer")
    sizes.clear()
    await run_job(gitlab, config, mirrored_job(3, repository, git_url))
    await run_job(gitlab, config, mirrored_job(4, repository, git_url))
    assert (sum(sizes) > FILE_BYTES) == (damage == "objects")


async def test_packs_are_combined_and_mirrors_beyond_the_limit_are_removed(
    gitlab: FakeGitLabServer, repository: Path, git_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(repository_mirrors, "MAX_PACKS", 2)
    config = agent_config(gitlab, tmp_path)
    for number in range(4):
        commit(repository, f"commit {number}")
        log = await run_job(gitlab, config, mirrored_job(number, repository, git_url))
        assert "\n2\n" in log
    mirrors = tmp_path / "builds" / "mirrors"
    assert 1 <= len(list(mirrors.rglob("*.pack"))) <= 2
    assert len(list(mirrors.glob("*/refs/jobs/*"))) <= 3
    RepositoryMirrors(replace(config, mirror_megabytes=1)).evict()
    assert list(mirrors.rglob("*.pack"))
    monkeypatch.setattr(repository_mirrors, "MAX_MIRRORS", 0)
    RepositoryMirrors(config).evict()
    assert list(mirrors.iterdir()) == []


async def test_a_commit_that_cannot_be_fetched_keeps_the_mirror(
    gitlab: FakeGitLabServer, repository: Path, git_url: str, sizes: list[int], tmp_path: Path
) -> None:
    config = agent_config(gitlab, tmp_path)
    await run_job(gitlab, config, mirrored_job(1, repository, git_url))
    missing = mirrored_job(2, repository, git_url)
    missing["git_info"] |= {"sha": "0" * 40, "refspecs": [f"+{'0' * 40}:refs/remotes/origin/main"]}
    gitlab.pending_jobs.put_nowait(missing)
    async with running_agent(config):
        assert (await gitlab.wait_for_final_state(2))["state"] == "failed"
    assert "could not be checked out" in gitlab.log_text(2)
    sizes.clear()
    await run_job(gitlab, config, mirrored_job(3, repository, git_url))
    assert sizes == []
