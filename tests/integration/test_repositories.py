"""Reading repositories with a real git, also after one that was killed."""

import os
import time
from pathlib import Path

import pytest

from libs.git import SETTINGS
from services.builds.mirror_eviction import LAST_USED, MAX_UNUSED_SECONDS
from services.builds.repository import Head, NoSuchFile, NoSuchRef, Repositories, Unreachable
from tests.support.repositories import SPEC, commit, git, sample_repository, spec_of


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


@pytest.mark.parametrize("branch", ["main", "*"])
async def test_the_newest_commit_is_found_wherever_git_keeps_it(branch: str, tmp_path: Path, repository: Path) -> None:
    repositories = Repositories(tmp_path / "copies")
    git(repository, "pack-refs", "--all")
    packed = await repositories.head(str(repository), branch)
    sha = commit(repository, {SPEC: spec_of({"other": ""})})
    loose = await repositories.head(str(repository), branch)
    git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    beside = await repositories.head(str(tmp_path / "tree"), "main")
    assert packed.sha == git(repository, "rev-parse", "main^")
    assert packed.ref == "refs/heads/main"
    assert loose == beside == Head(sha, "refs/heads/main")


@pytest.mark.parametrize("branch", ["other", "main/", "./main", "../heads/main", "../../HEAD", "", "a\nb"])
async def test_a_branch_that_is_not_there_says_so(branch: str, tmp_path: Path, repository: Path) -> None:
    with pytest.raises(NoSuchRef):
        await Repositories(tmp_path / "copies").head(str(repository), branch)


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


async def test_the_files_of_a_commit_are_told_with_the_ids_of_their_contents(tmp_path: Path, repository: Path) -> None:
    commit(repository, {"a/b c.txt": "same", "ä.txt": "same", "other": "else"})
    repositories = Repositories(tmp_path / "copies")
    found = await repositories.tree(str(repository), await repositories.head(str(repository), "main"))
    assert found.keys() >= {SPEC, "ci/build.sh", "a/b c.txt", "ä.txt", "other"}
    assert found["a/b c.txt"] == found["ä.txt"] != found["other"]


@pytest.mark.parametrize("protocol", ["0", "2"])
@pytest.mark.parametrize("way", ["", "file://"])
async def test_what_changed_is_told_since_the_push_or_else_since_the_parent(
    way: str, protocol: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SETTINGS, "protocol.version", protocol)
    url = f"{way}{repository}"
    repositories = Repositories(tmp_path / "copies")
    first = await repositories.head(url, "main")
    commit(repository, {"one": "1"})
    second = await repositories.head(url, "main")
    commit(repository, {"two": "2"})
    third = await repositories.head(url, "main")
    assert await repositories.changed(url, third, "") == frozenset({"two"})
    assert await repositories.changed(url, third, first.sha) == frozenset({"one", "two"})
    assert await repositories.changed(url, third, second.sha) == frozenset({"two"})
    assert await repositories.changed(url, third, "1" * 40) == frozenset({"two"})
    assert await repositories.changed(url, first, "") is None


async def test_copies_beyond_the_size_are_removed_the_least_recently_used_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.builds.repository.EVICTION_INTERVAL", 0)
    folder = tmp_path / "copies"
    sources = [sample_repository(tmp_path / name) for name in ("first", "second", "third")]
    measured = Repositories(tmp_path / "measured")
    await measured.file(str(sources[0]), await measured.head(str(sources[0]), "main"), SPEC)
    size = sum(file.stat().st_size for file in (tmp_path / "measured").rglob("*"))
    repositories = Repositories(folder, max_bytes=int(size * 2.5))
    heads = [await repositories.head(str(source), "main") for source in sources]
    for place in (0, 1):
        await repositories.file(str(sources[place]), heads[place], SPEC)
    oldest, second = sorted(folder.iterdir(), key=lambda copy: (copy / LAST_USED).stat().st_mtime)
    await repositories.tree(str(sources[0]), heads[0])  # used again
    await repositories.file(str(sources[2]), heads[2], SPEC)
    left = set(folder.iterdir())
    assert oldest in left
    assert second not in left
    assert len(left) == 2
    assert await repositories.tree(str(sources[1]), heads[1])  # fetched again


async def test_copies_that_nothing_was_built_from_for_two_weeks_are_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.builds.repository.EVICTION_INTERVAL", 0)
    folder = tmp_path / "copies"
    repositories = Repositories(folder)
    for name in ("abandoned", "active"):
        source = str(sample_repository(tmp_path / name))
        await repositories.file(source, await repositories.head(source, "main"), SPEC)
        if name == "abandoned":
            (abandoned,) = folder.iterdir()
            long_ago = time.time() - MAX_UNUSED_SECONDS - 1
            os.utime(abandoned / LAST_USED, (long_ago, long_ago))
    assert abandoned not in set(folder.iterdir())
    assert len(list(folder.iterdir())) == 1
