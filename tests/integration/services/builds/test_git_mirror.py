"""Local git mirrors of repositories: reading commits and files, and mirrors damaged by a killed git."""

import os
import time
from pathlib import Path

import pytest

from libs.git_env import GIT_SETTINGS
from services.builds.planning.git_mirror import GitMirrors, NoSuchFile
from services.builds.planning.git_process import RepositoryUnreachable
from services.builds.planning.local_refs import NoSuchRef, ResolvedRef
from services.builds.planning.mirror_eviction import LAST_USED, MAX_UNUSED_SECONDS
from tests.support.external.repositories import SPEC_FILE, commit_files, create_sample_repository, make_spec, run_git


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    return create_sample_repository(tmp_path / "repository")


async def test_a_lock_file_of_a_killed_git_is_removed(tmp_path: Path, repository: Path) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    await repositories.read_file(str(repository), await repositories.resolve(str(repository), "main"), SPEC_FILE)
    (copy,) = (tmp_path / "copies").iterdir()
    (copy / "shallow.lock").touch()
    commit_files(repository, {SPEC_FILE: make_spec({"other": ""})})
    head = await repositories.resolve(str(repository), "main")
    assert b"@other" in await repositories.read_file(str(repository), head, SPEC_FILE)


async def test_a_damaged_git_mirror_is_recreated(tmp_path: Path, repository: Path) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    await repositories.read_file(str(repository), await repositories.resolve(str(repository), "main"), SPEC_FILE)
    (copy,) = (tmp_path / "copies").iterdir()
    (copy / "HEAD").unlink()
    commit_files(repository, {SPEC_FILE: make_spec({"other": ""})})
    head = await repositories.resolve(str(repository), "main")
    assert b"@other" in await repositories.read_file(str(repository), head, SPEC_FILE)


# with protocol 0, a server does not serve commits that no ref points to
@pytest.mark.parametrize("protocol", ["0", "2"])
async def test_a_commit_is_read_after_its_branch_moved_on(
    protocol: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GIT_SETTINGS, "protocol.version", protocol)
    repositories = GitMirrors(tmp_path / "copies")
    head = await repositories.resolve(str(repository), "main")
    for name in ("one", "two"):
        commit_files(repository, {SPEC_FILE: make_spec({name: ""})})
    assert b"@build" in await repositories.read_file(f"file://{repository}", head, SPEC_FILE)


async def test_an_unknown_commit_raises_no_such_ref(tmp_path: Path, repository: Path) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    with pytest.raises(NoSuchRef):
        await repositories.read_file(str(repository), ResolvedRef("1" * 40, "refs/heads/main"), SPEC_FILE)


@pytest.mark.parametrize("branch", ["main", "*"])
async def test_the_head_of_a_branch_is_read_from_packed_loose_and_worktree_refs(
    branch: str, tmp_path: Path, repository: Path
) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    run_git(repository, "pack-refs", "--all")
    packed = await repositories.resolve(str(repository), branch)
    sha = commit_files(repository, {SPEC_FILE: make_spec({"other": ""})})
    loose = await repositories.resolve(str(repository), branch)
    run_git(repository, "worktree", "add", "--quiet", "--detach", str(tmp_path / "tree"))
    beside = await repositories.resolve(str(tmp_path / "tree"), "main")
    assert packed.sha == run_git(repository, "rev-parse", "main^")
    assert packed.ref == "refs/heads/main"
    assert loose == beside == ResolvedRef(sha, "refs/heads/main")


@pytest.mark.parametrize("branch", ["other", "main/", "./main", "../heads/main", "../../HEAD", "", "a\nb"])
async def test_an_unknown_branch_raises_no_such_ref(branch: str, tmp_path: Path, repository: Path) -> None:
    with pytest.raises(NoSuchRef):
        await GitMirrors(tmp_path / "copies").resolve(str(repository), branch)


async def test_a_deleted_repository_raises_unreachable(tmp_path: Path, repository: Path) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    head = await repositories.resolve(str(repository), "main")
    with pytest.raises(RepositoryUnreachable):
        await repositories.read_file(str(tmp_path / "nowhere"), head, SPEC_FILE)


@pytest.mark.parametrize("path", [SPEC_FILE, f"/{SPEC_FILE}", f"./ci/../{SPEC_FILE}", f"{SPEC_FILE}/"])
async def test_a_file_path_is_normalized(path: str, tmp_path: Path, repository: Path) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    head = await repositories.resolve(str(repository), "main")
    assert b"@build" in await repositories.read_file(str(repository), head, path)


@pytest.mark.parametrize("path", ["", ".", "/", "ci", "ci/", "link"])
async def test_a_directory_or_symlink_raises_is_a_directory(path: str, tmp_path: Path, repository: Path) -> None:
    (repository / "link").symlink_to(SPEC_FILE)
    commit_files(repository, {})
    repositories = GitMirrors(tmp_path / "copies")
    head = await repositories.resolve(str(repository), "main")
    with pytest.raises(IsADirectoryError):
        await repositories.read_file(str(repository), head, path)


@pytest.mark.parametrize(
    "path", ["gone", "../repository/headrace.yaml", "*.yaml", ":(top)headrace.yaml", ".git/config"]
)
async def test_an_unknown_path_raises_no_such_file(path: str, tmp_path: Path, repository: Path) -> None:
    repositories = GitMirrors(tmp_path / "copies")
    head = await repositories.resolve(str(repository), "main")
    with pytest.raises(NoSuchFile):
        await repositories.read_file(str(repository), head, path)


async def test_the_tree_of_a_commit_maps_paths_to_blob_ids(tmp_path: Path, repository: Path) -> None:
    commit_files(repository, {"a/b c.txt": "same", "ä.txt": "same", "other": "else"})
    repositories = GitMirrors(tmp_path / "copies")
    found = await repositories.list_files(str(repository), await repositories.resolve(str(repository), "main"))
    assert found.keys() >= {SPEC_FILE, "ci/build.sh", "a/b c.txt", "ä.txt", "other"}
    assert found["a/b c.txt"] == found["ä.txt"] != found["other"]


@pytest.mark.parametrize("protocol", ["0", "2"])
@pytest.mark.parametrize("way", ["", "file://"])
async def test_changed_files_are_compared_with_the_pushed_from_commit_or_the_parent(
    way: str, protocol: str, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(GIT_SETTINGS, "protocol.version", protocol)
    url = f"{way}{repository}"
    repositories = GitMirrors(tmp_path / "copies")
    first = await repositories.resolve(url, "main")
    commit_files(repository, {"one": "1"})
    second = await repositories.resolve(url, "main")
    commit_files(repository, {"two": "2"})
    third = await repositories.resolve(url, "main")
    assert await repositories.list_changed_paths(url, third, "") == frozenset({"two"})
    assert await repositories.list_changed_paths(url, third, first.sha) == frozenset({"one", "two"})
    assert await repositories.list_changed_paths(url, third, second.sha) == frozenset({"two"})
    assert await repositories.list_changed_paths(url, third, "1" * 40) == frozenset({"two"})
    assert await repositories.list_changed_paths(url, first, "") is None


async def test_git_mirrors_above_the_size_limit_are_evicted_least_recently_used_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.builds.planning.git_mirror.EVICTION_INTERVAL_SECONDS", 0)
    folder = tmp_path / "copies"
    sources = [create_sample_repository(tmp_path / name) for name in ("first", "second", "third")]
    measured = GitMirrors(tmp_path / "measured")
    await measured.read_file(str(sources[0]), await measured.resolve(str(sources[0]), "main"), SPEC_FILE)
    size = sum(file.stat().st_size for file in (tmp_path / "measured").rglob("*"))
    repositories = GitMirrors(folder, max_bytes=int(size * 2.5))
    heads = [await repositories.resolve(str(source), "main") for source in sources]
    for index in (0, 1):
        await repositories.read_file(str(sources[index]), heads[index], SPEC_FILE)
    oldest, second = sorted(folder.iterdir(), key=lambda copy: (copy / LAST_USED).stat().st_mtime)
    await repositories.list_files(str(sources[0]), heads[0])  # makes this mirror the most recently used one
    await repositories.read_file(str(sources[2]), heads[2], SPEC_FILE)
    left = set(folder.iterdir())
    assert oldest in left
    assert second not in left
    assert len(left) == 2
    assert await repositories.list_files(str(sources[1]), heads[1])  # fetched again, because the mirror was removed


async def test_git_mirrors_unused_for_two_weeks_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.builds.planning.git_mirror.EVICTION_INTERVAL_SECONDS", 0)
    folder = tmp_path / "copies"
    repositories = GitMirrors(folder)
    for name in ("abandoned", "active"):
        source = str(create_sample_repository(tmp_path / name))
        await repositories.read_file(source, await repositories.resolve(source, "main"), SPEC_FILE)
        if name == "abandoned":
            (abandoned,) = folder.iterdir()
            long_ago = time.time() - MAX_UNUSED_SECONDS - 1
            os.utime(abandoned / LAST_USED, (long_ago, long_ago))
    assert abandoned not in set(folder.iterdir())
    assert len(list(folder.iterdir())) == 1
