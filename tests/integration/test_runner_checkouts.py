"""The commit of a job, brought by the git commands of GitLab's runner from a real git server."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.demonstration.serving import Front, GitServer
from libs.git import SETTINGS
from services.builds.repository import Repositories
from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support.gitlab_client import GitLabClient
from tests.support.repositories import SPEC, commit, git, sample_repository

PIPELINE = ".gitlab-ci.yml"
COMMITS = 6


class OldFront(Front):
    """A server that knows no protocol after the first one, and no commits but the heads of branches."""

    def do_GET(self) -> None:  # noqa: N802
        del self.headers["Git-Protocol"]
        super().do_GET()

    do_POST = do_GET  # noqa: N815


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = sample_repository(tmp_path / "served" / "mill")
    git(folder, "tag", "v1")
    for number in range(COMMITS - 2):
        commit(folder, {"number": str(number)})
    pipeline(folder, "")
    return folder


@pytest.fixture
def server(repository: Path) -> Iterator[GitServer]:
    server = GitServer(repository.parent)
    with server.serving():
        yield server


@pytest.fixture
def old_server(repository: Path) -> Iterator[GitServer]:
    server = GitServer(repository.parent, front=OldFront)
    with server.serving():
        yield server


@pytest.fixture
def client(tmp_path: Path) -> GitLabClient:
    return GitLabClient(tmp_path / "builds", {"GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"})


def pipeline(folder: Path, depth: str) -> str:
    variables = f'variables: {{GIT_DEPTH: "{depth}"}}\n' if depth else ""
    return commit(folder, {PIPELINE: f"{variables}build: {{script: x}}\n"})


def url(server: GitServer) -> str:
    return f"http://127.0.0.1:{server.server_port}/mill/.git"


async def launched(here: Whole, server: GitServer) -> tuple[RunnerAtWork, int, Body]:
    """A runner of its own, the build, and its job as the runner got it."""
    project = await here.project(repository=url(server), spec_file_path=f"/{PIPELINE}")
    path = f"/project/{project['owner_alias']}/{project['alias']}/runners"
    runner = await here.runner(path)
    build_id = await here.launched(project)
    return runner, build_id, await runner.job()


def fetched(client: GitLabClient, job: Body) -> int:
    """Check the commit out. Return how many commits of its history were brought."""
    done = client.get_sources(job)
    assert done.returncode == 0, done.stderr.decode()
    assert git(client.checkout, "rev-parse", "HEAD") == job["git_info"]["sha"]
    return int(git(client.checkout, "rev-list", "--count", "HEAD"))


def overwrite(folder: Path) -> None:
    """A force-push: the branch begins again, and no ref names what it was."""
    git(folder, "checkout", "--quiet", "--orphan", "again")
    pipeline(folder, "")
    git(folder, "branch", "--force", "main", "again")


@pytest.mark.parametrize(("depth", "commits"), [("1", 1), ("3", 3), ("", COMMITS), ("0", COMMITS), ("all", COMMITS)])
async def test_git_depth_limits_the_history(
    here: Whole, repository: Path, server: GitServer, client: GitLabClient, depth: str, commits: int
) -> None:
    if depth:
        git(repository, "reset", "--hard", "--quiet", "HEAD^")
        pipeline(repository, depth)
    _, _, job = await launched(here, server)
    assert fetched(client, job) == commits
    assert git(client.checkout, "rev-parse", "origin/main") == job["git_info"]["sha"]
    assert (git(client.checkout, "tag") == "v1") is (commits == COMMITS)


@pytest.mark.parametrize("depth", ["", "1"])
async def test_a_commit_is_brought_whatever_became_of_its_branch(
    here: Whole, repository: Path, server: GitServer, client: GitLabClient, depth: str
) -> None:
    pipeline(repository, depth)
    runner, build_id, job = await launched(here, server)
    overwrite(repository)
    assert fetched(client, job) == (1 if depth else COMMITS + 1)
    await runner.report(job, "failed", failure_reason="script_failure")
    await here.ended(build_id)
    await here.post(f"/api/developer/jobs/{job['id']}/retry", status=204)
    git(repository, "branch", "--delete", "--force", "main")
    again = await runner.job()
    assert fetched(GitLabClient(client.folder / "other", client.environment), again) == (1 if depth else COMMITS + 1)


async def test_a_work_folder_is_used_again_for_every_depth(
    here: Whole, repository: Path, server: GitServer, client: GitLabClient
) -> None:
    for depth in ("2", "", "1"):
        sha = pipeline(repository, depth)
        _, _, job = await launched(here, server)
        assert job["git_info"]["sha"] == sha
        fetched(client, job)
    overwrite(repository)
    fetched(client, job)


@pytest.mark.parametrize("depth", ["", "1"])
async def test_a_server_that_gives_no_commit_by_its_hash_is_asked_for_the_whole_branch(
    here: Whole, repository: Path, old_server: GitServer, client: GitLabClient, depth: str
) -> None:
    pipeline(repository, depth)
    _, _, job = await launched(here, old_server)
    commit(repository, {"later": ""})
    commit(repository, {"later": "still"})
    git_info = job["git_info"]
    assert (git_info["refspecs"], git_info["depth"]) == (["+refs/heads/main:refs/remotes/origin/main"], 0)
    assert fetched(client, job) == COMMITS + 1


# ---- what the planner learns of a server


async def serves(folder: Path, address: str, spec: str = SPEC) -> bool:
    repositories = Repositories(folder)
    await repositories.file(address, await repositories.head(address, "main"), spec)
    return repositories.serves_commits(address)


async def test_what_a_server_gives_is_learned_once_and_kept(
    tmp_path: Path, repository: Path, server: GitServer
) -> None:
    copies = tmp_path / "copies"
    assert await serves(copies, url(server))
    assert await serves(copies, url(server))  # nothing is fetched this time
    commit(repository, {"more": ""})
    assert await serves(copies, url(server))


async def test_an_old_server_gives_none(
    tmp_path: Path, repository: Path, old_server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not await serves(tmp_path / "copies", url(old_server))
    # also where the parent happens to be the head of another branch, which such a server does give
    git(repository, "branch", "before", "HEAD^")
    assert not await serves(tmp_path / "other copies", url(old_server))
    monkeypatch.setitem(SETTINGS, "protocol.version", "0")
    assert not await serves(tmp_path / "third copies", str(repository))


async def test_a_server_that_was_replaced_by_an_older_one_is_noticed(
    tmp_path: Path, repository: Path, server: GitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = tmp_path / "copies"
    assert await serves(copies, url(server))
    monkeypatch.setitem(SETTINGS, "protocol.version", "0")
    commit(repository, {"more": ""})
    assert not await serves(copies, url(server))


async def test_a_first_commit_tells_nothing(tmp_path: Path, server: GitServer, repository: Path) -> None:
    sample_repository(repository.parent / "young")
    young: Any = url(server).replace("/mill/", "/young/")
    assert not await serves(tmp_path / "copies", young)
