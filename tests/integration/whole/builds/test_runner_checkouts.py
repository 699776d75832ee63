"""Checkouts by the git commands of GitLab Runner from a real git server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.demo.git_server import GitRequestHandler, GitServer
from libs.git_env import GIT_SETTINGS
from services.builds.planning.git_mirror import GitMirrors
from tests.support.external.gitlab_client import GitLabClient
from tests.support.external.repositories import SPEC_FILE, commit_files, create_sample_repository, run_git
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner

PIPELINE = ".gitlab-ci.yml"
COMMIT_COUNT = 6


class ProtocolV0Front(GitRequestHandler):
    """A git server that speaks only protocol 0 and serves only commits at the heads of branches."""

    def do_GET(self) -> None:  # noqa: N802
        del self.headers["Git-Protocol"]
        super().do_GET()

    do_POST = do_GET  # noqa: N815


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = create_sample_repository(tmp_path / "served" / "mill")
    run_git(folder, "tag", "v1")
    for number in range(COMMIT_COUNT - 2):
        commit_files(folder, {"number": str(number)})
    commit_pipeline(folder, "")
    return folder


@pytest.fixture
def server(repository: Path) -> Iterator[GitServer]:
    server = GitServer(repository.parent)
    with server.run_in_thread():
        yield server


@pytest.fixture
def old_server(repository: Path) -> Iterator[GitServer]:
    server = GitServer(repository.parent, handler=ProtocolV0Front)
    with server.run_in_thread():
        yield server


@pytest.fixture
def client(tmp_path: Path) -> GitLabClient:
    return GitLabClient(tmp_path / "builds", {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"})


def commit_pipeline(folder: Path, depth: str) -> str:
    variables = f'variables: {{GIT_DEPTH: "{depth}"}}\n' if depth else ""
    return commit_files(folder, {PIPELINE: f"{variables}build: {{script: x}}\n"})


def repository_url(server: GitServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/mill/.git"


async def launch_and_claim(system: BuildSystem, server: GitServer) -> tuple[FakeRunner, int, Body]:
    project = await system.create_project(repository=repository_url(server), spec_file_path=f"/{PIPELINE}")
    path = f"/project/{project['owner_alias']}/{project['alias']}/runners"
    runner = await system.register_runner(path)
    build_id = await system.launch_build(project)
    return runner, build_id, await runner.wait_for_job()


def check_out(client: GitLabClient, job: Body) -> int:
    """Check out the commit. Return the number of commits fetched."""
    done = client.get_sources(job)
    assert done.returncode == 0, done.stderr.decode()
    assert run_git(client.checkout, "rev-parse", "HEAD") == job["git_info"]["sha"]
    return int(run_git(client.checkout, "rev-list", "--count", "HEAD"))


def force_push(folder: Path) -> None:
    """Force-push a new root commit, so that no ref points to the former history."""
    run_git(folder, "checkout", "--quiet", "--orphan", "again")
    commit_pipeline(folder, "")
    run_git(folder, "branch", "--force", "main", "again")


@pytest.mark.parametrize(
    ("depth", "sent", "commits"),
    [("1", 1, 1), ("3", 3, 3), ("", 20, COMMIT_COUNT), ("0", 0, COMMIT_COUNT), ("all", 20, COMMIT_COUNT)],
)
async def test_git_depth_limits_the_history(
    system: BuildSystem, repository: Path, server: GitServer, client: GitLabClient, depth: str, sent: int, commits: int
) -> None:
    if depth:
        run_git(repository, "reset", "--hard", "--quiet", "HEAD^")
        commit_pipeline(repository, depth)
    _, _, job = await launch_and_claim(system, server)
    assert job["git_info"]["depth"] == sent
    assert check_out(client, job) == commits
    assert run_git(client.checkout, "rev-parse", "origin/main") == job["git_info"]["sha"]
    assert (run_git(client.checkout, "tag") == "v1") is (commits == COMMIT_COUNT)


@pytest.mark.parametrize("depth", ["", "1"])
async def test_a_commit_is_fetched_after_its_branch_was_overwritten_or_deleted(
    system: BuildSystem, repository: Path, server: GitServer, client: GitLabClient, depth: str
) -> None:
    commit_pipeline(repository, depth)
    runner, build_id, job = await launch_and_claim(system, server)
    force_push(repository)
    assert check_out(client, job) == (1 if depth else COMMIT_COUNT + 1)
    await runner.report(job, "failed", failure_reason="script_failure")
    await system.wait_until_ended(build_id)
    await system.post(f"/api/developer/jobs/{job['id']}/retry", status=204)
    run_git(repository, "branch", "--delete", "--force", "main")
    again = await runner.wait_for_job()
    assert check_out(GitLabClient(client.folder / "other", client.environment), again) == (
        1 if depth else COMMIT_COUNT + 1
    )


async def test_a_checkout_is_reused_for_every_depth(
    system: BuildSystem, repository: Path, server: GitServer, client: GitLabClient
) -> None:
    for depth in ("2", "", "1"):
        sha = commit_pipeline(repository, depth)
        _, _, job = await launch_and_claim(system, server)
        assert job["git_info"]["sha"] == sha
        check_out(client, job)
    force_push(repository)
    check_out(client, job)


@pytest.mark.parametrize("depth", ["", "1"])
async def test_a_git_server_that_serves_only_branch_heads_is_asked_for_the_branch(
    system: BuildSystem, repository: Path, old_server: GitServer, client: GitLabClient, depth: str
) -> None:
    commit_pipeline(repository, depth)
    _, _, job = await launch_and_claim(system, old_server)
    commit_files(repository, {"later": ""})
    commit_files(repository, {"later": "still"})
    git_info = job["git_info"]
    assert (git_info["refspecs"], git_info["depth"]) == (["+refs/heads/main:refs/remotes/origin/main"], 0)
    assert check_out(client, job) == COMMIT_COUNT + 1


async def learns_serves_commits(folder: Path, address: str, spec: str = SPEC_FILE) -> bool:
    repositories = GitMirrors(folder)
    await repositories.read_file(address, await repositories.resolve(address, "main"), spec)
    return repositories.serves_commits(address)


async def test_a_git_servers_ability_to_serve_commits_is_remembered(
    tmp_path: Path, repository: Path, server: GitServer
) -> None:
    copies = tmp_path / "copies"
    assert await learns_serves_commits(copies, repository_url(server))
    assert await learns_serves_commits(copies, repository_url(server))  # the result is cached, so nothing is fetched
    commit_files(repository, {"more": ""})
    assert await learns_serves_commits(copies, repository_url(server))


async def test_a_protocol_v0_git_server_serves_no_commits_by_hash(
    tmp_path: Path, repository: Path, old_server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await learns_serves_commits(tmp_path / "copies", repository_url(old_server))
    # the result is the same if the parent commit, which the probe requests, is the head of a branch
    run_git(repository, "branch", "before", "HEAD^")
    assert not await learns_serves_commits(tmp_path / "other copies", repository_url(old_server))
    monkeypatch.setitem(GIT_SETTINGS, "protocol.version", "0")
    assert not await learns_serves_commits(tmp_path / "third copies", str(repository))


async def test_a_git_server_replaced_by_an_older_one_is_detected(
    tmp_path: Path, repository: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    assert await learns_serves_commits(copies, repository_url(server))
    monkeypatch.setitem(GIT_SETTINGS, "protocol.version", "0")
    commit_files(repository, {"more": ""})
    assert not await learns_serves_commits(copies, repository_url(server))


async def test_the_ability_to_serve_commits_is_unknown_with_a_single_commit(
    tmp_path: Path, server: GitServer, repository: Path
) -> None:
    create_sample_repository(repository.parent / "young")
    young_url: Any = repository_url(server).replace("/mill/", "/young/")
    assert not await learns_serves_commits(tmp_path / "copies", young_url)
