"""Reading repositories with a real git, also after one that was killed."""

from pathlib import Path

import pytest

from libs.git import SETTINGS
from services.builds.repository import Head, NoSuchFile, NoSuchRef, Repositories, Unreachable
from tests.support.repositories import SPEC, commit, sample_repository, spec_of


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return sample_repository(tmp_path / "repository")


async def test_a_lock_that_a_killed_git_left_behind_stops_no_build(tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    await repositories.file(str(repository), await repositories.head(str(repository), "main"), SPEC)
    (copy,) = (tmp_path / "copies").iterdir()
    (copy / "shallow.lock").touch()
    commit(repository, {SPEC: spec_of({"other": ""})})
    head = await repositories.head(str(repository), "main")
    assert b"@other" in await repositories.file(str(repository), head, SPEC)


async def test_half_a_copy_stops_no_build(tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    await repositories.file(str(repository), await repositories.head(str(repository), "main"), SPEC)
    (copy,) = (tmp_path / "copies").iterdir()
    (copy / "HEAD").unlink()
    commit(repository, {SPEC: spec_of({"other": ""})})
    head = await repositories.head(str(repository), "main")
    assert b"@other" in await repositories.file(str(repository), head, SPEC)


@pytest.mark.parametrize("protocol", ["0", "2"])  # servers of the first give no commit that no branch names
async def test_a_commit_is_read_although_its_branch_has_moved_on(
    protocol: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "protocol.version", protocol)
    repositories = Repositories(tmp_path / "copies")
    head = await repositories.head(str(repository), "main")
    for name in ("one", "two"):
        commit(repository, {SPEC: spec_of({name: ""})})
    assert b"@build" in await repositories.file(f"file://{repository}", head, SPEC)


async def test_a_commit_that_is_on_no_branch_says_so(tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    with pytest.raises(NoSuchRef):
        await repositories.file(str(repository), Head("1" * 40, "refs/heads/main"), SPEC)


async def test_a_repository_that_is_gone_says_so(tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    head = await repositories.head(str(repository), "main")
    with pytest.raises(Unreachable):
        await repositories.file(str(tmp_path / "nowhere"), head, SPEC)


@pytest.mark.parametrize("path", [SPEC, f"/{SPEC}", f"./ci/../{SPEC}", f"{SPEC}/"])
async def test_a_path_may_be_written_in_many_ways(path: str, tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    head = await repositories.head(str(repository), "main")
    assert b"@build" in await repositories.file(str(repository), head, path)


@pytest.mark.parametrize("path", ["", ".", "/", "ci", "ci/", "link"])
async def test_a_folder_or_a_link_is_no_plain_file(path: str, tmp_path: Path, repository: Path) -> None:
    (repository / "link").symlink_to(SPEC)
    commit(repository, {})
    repositories = Repositories(tmp_path / "copies")
    head = await repositories.head(str(repository), "main")
    with pytest.raises(IsADirectoryError):
        await repositories.file(str(repository), head, path)


@pytest.mark.parametrize(
    "path", ["gone", "../repository/headrace.yaml", "*.yaml", ":(top)headrace.yaml", ".git/config"]
)
async def test_a_path_that_leads_to_nothing_says_so(path: str, tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    head = await repositories.head(str(repository), "main")
    with pytest.raises(NoSuchFile):
        await repositories.file(str(repository), head, path)
