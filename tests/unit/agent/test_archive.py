"""Archives of a job folder: which files a pattern selects, and that nothing outside the folder is read or written."""

import asyncio
import os
import stat
import zipfile
from pathlib import Path
from threading import Event

import pytest

from agent.artifacts import unpacking
from agent.artifacts.archive import ArchiveCanceled, find_files, pack, run_stoppable
from agent.config import ArchiveLimits
from tests.support.waiting import eventually

FILES = ("a.txt", "out/app", "out/lib/one.o", "out/lib/two.c", "src/main.c", ".hidden/x", ".git/config")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def unpack(archive: Path, folder: Path, **limits: int) -> list[str]:
    return unpacking.unpack(archive, folder, ArchiveLimits(**limits), Event())


def files(folder: Path, *paths: str, exclude: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> list[str]:
    return [name for name in find_files(folder, paths, exclude, also) if (folder / name).is_file()]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("out/", ["out/app", "out/lib/one.o", "out/lib/two.c"]),
        ("./out/lib", ["out/lib/one.o", "out/lib/two.c"]),
        ("*.txt", ["a.txt"]),
        ("out/*", ["out/app", "out/lib/one.o", "out/lib/two.c"]),
        ("**/*.c", ["out/lib/two.c", "src/main.c"]),
        ("out/**", ["out/app", "out/lib/one.o", "out/lib/two.c"]),
        ("{src,out/lib}/*.[co]", ["out/lib/one.o", "out/lib/two.c", "src/main.c"]),
        ("out/lib/[!o]*", ["out/lib/two.c"]),
        ("out/ap?", ["out/app"]),
        (".", [".hidden/x", "a.txt", "out/app", "out/lib/one.o", "out/lib/two.c", "src/main.c"]),
        ("../*", []),
        ("/etc/passwd", []),
        ("", []),
        (".git/", []),
    ],
)
def test_a_pattern_selects_the_expected_files(folder: Path, pattern: str, expected: list[str]) -> None:
    assert files(folder, pattern) == expected


def test_a_path_may_start_with_the_path_of_the_folder(folder: Path) -> None:
    assert files(folder, f"{folder}/src") == ["src/main.c"]


def test_excluded_files_are_left_out_but_a_folder_name_excludes_no_files(folder: Path) -> None:
    assert files(folder, "out", exclude=("out/lib/*.o", "out/lib")) == ["out/app", "out/lib/two.c"]


def test_untracked_files_are_added_without_a_pattern(folder: Path) -> None:
    assert files(folder, also=("a.txt", "src/main.c"), exclude=("*.txt",)) == ["src/main.c"]


def test_an_invalid_pattern_is_reported(folder: Path) -> None:
    with pytest.raises(ValueError, match="invalid file pattern"):
        find_files(folder, ["out/[z-a]"], ())


def test_matching_a_pattern_takes_linear_time(folder: Path) -> None:
    deep = folder / "/".join("a" * 40)
    deep.mkdir(parents=True)
    (deep / "b").write_text("")
    assert find_files(folder, ["**/" * 60 + "*a*a*a*a*a*a*a*a*c"], ()) == []


def test_an_archive_keeps_contents_modes_empty_folders_and_inner_links(folder: Path, tmp_path: Path) -> None:
    (folder / "out/app").chmod(0o755)
    (folder / "out/empty").mkdir()
    (folder / "out/latest").symlink_to("lib/one.o")
    target = tmp_path / "there"
    target.mkdir()
    assert pack(folder, find_files(folder, ["out"], ()), tmp_path / "a.zip", Event()) == []
    assert unpack(tmp_path / "a.zip", target) == []
    assert (target / "out/lib/two.c").read_text() == "out/lib/two.c"
    assert stat.S_IMODE((target / "out/app").stat().st_mode) == 0o755
    assert (target / "out/empty").is_dir()
    assert os.readlink(target / "out/latest") == "lib/one.o"


def test_outside_links_pipes_and_linked_files_are_not_archived(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hush")
    (folder / "out/key").symlink_to(secret / "key")
    (folder / "out/secret").symlink_to(secret)
    os.mkfifo(folder / "out/pipe")
    names = find_files(folder, ["out/key", "out/secret", "out/secret/key", "out/pipe"], ())
    assert sorted(pack(folder, names, tmp_path / "a.zip", Event())) == ["out/key", "out/pipe", "out/secret"]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == []


def test_a_folder_replaced_by_a_link_matches_no_files(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert find_files(tmp_path / "link", ["**"], ()) == []


def test_a_stopped_archive_is_not_finished(folder: Path, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(ArchiveCanceled):
        pack(folder, ["a.txt"], tmp_path / "a.zip", stop)


@pytest.mark.parametrize(
    "name", ["../escaped", "/escaped", "a/../../escaped", "link/escaped", ".git/hooks/post-checkout"]
)
def test_archive_entries_outside_the_folder_are_not_extracted(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "link").symlink_to(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "evil")
        archive.writestr("fine", "good")
    assert unpack(tmp_path / "a.zip", folder) == [name]
    assert (folder / "fine").read_text() == "good"
    assert not (tmp_path / "escaped").exists()
    assert not (folder / ".git/hooks").exists()


def test_extraction_creates_and_follows_no_links_to_the_outside(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("untouched")
    (folder / "a.txt").unlink()
    (folder / "a.txt").symlink_to(outside)
    link = zipfile.ZipInfo("door")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, str(outside))
        archive.writestr("a.txt", "new")
    assert unpack(tmp_path / "a.zip", folder) == ["door"]
    assert outside.read_text() == "untouched"
    assert (folder / "a.txt").read_text() == "new"


def test_an_unreadable_archive_is_reported(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(tmp_path / "a.zip", tmp_path)


def add_link(archive: zipfile.ZipFile, name: str, target: str) -> None:
    link = zipfile.ZipInfo(name)
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive.writestr(link, target)


def test_extraction_does_not_change_the_git_folder_through_a_link(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        add_link(archive, "door", ".git")
        archive.writestr("door/hooks/post-checkout", "evil")
        archive.writestr("door/config", "evil")
    assert unpack(tmp_path / "a.zip", folder) == ["door/hooks/post-checkout", "door/config"]
    assert (folder / ".git/config").read_text() == ".git/config"
    assert not (folder / ".git/hooks").exists()


def test_a_link_that_later_entries_turn_to_the_outside_is_not_followed(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        add_link(archive, "door", "x/y/../..")
        archive.writestr("x/", "")
        add_link(archive, "x/y", "..")
        archive.writestr("door/escaped", "evil")
    assert unpack(tmp_path / "a.zip", folder) == ["door/escaped"]
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK])
def test_devices_and_pipes_are_not_extracted(folder: Path, tmp_path: Path, kind: int) -> None:
    device = zipfile.ZipInfo("device")
    device.external_attr = (kind | 0o666) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(device, "")
    assert unpack(tmp_path / "a.zip", folder) == ["device"]
    assert not (folder / "device").exists()


def make_bomb(path: Path, mebibytes: int) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("zeros", "w") as file:
        for _ in range(mebibytes):
            file.write(bytes(1024 * 1024))


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        ({"ratio": 200}, "times larger than the archive, the agent's limit is 200 times"),
        ({"ratio": 0, "megabytes": 69}, "the agent's limit is 69 MiB"),
    ],
)
def test_a_bomb_is_rejected_before_the_first_file_is_written(
    tmp_path: Path, limits: dict[str, int], message: str
) -> None:
    make_bomb(tmp_path / "a.zip", 70)
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match=message):
        unpack(tmp_path / "a.zip", tmp_path / "there", **limits)
    assert list((tmp_path / "there").iterdir()) == []


def test_an_archive_within_the_limits_is_unpacked(tmp_path: Path) -> None:
    make_bomb(tmp_path / "a.zip", 70)
    assert unpack(tmp_path / "a.zip", tmp_path, ratio=2000, megabytes=70, entries=1) == []
    assert (tmp_path / "zeros").stat().st_size == 70 * 1024 * 1024


def test_an_entry_larger_than_its_stated_size_is_not_unpacked_beyond_it(tmp_path: Path) -> None:
    make_bomb(tmp_path / "a.zip", 1)
    stated, forged = (size.to_bytes(4, "little") for size in (1024 * 1024, 10))
    content = (tmp_path / "a.zip").read_bytes()
    assert content.count(stated) >= 1
    (tmp_path / "a.zip").write_bytes(content.replace(stated, forged))
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(tmp_path / "a.zip", tmp_path)
    assert not (tmp_path / "zeros").exists() or (tmp_path / "zeros").stat().st_size <= 10


@pytest.mark.parametrize(("name", "message"), [("x", "has 5000 entries"), ("x" * 200, "list of entries is larger")])
def test_an_archive_with_too_many_entries_is_rejected(tmp_path: Path, name: str, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(5000):
            archive.writestr(f"{name}{number}", "")
    (tmp_path / "there").mkdir()
    with pytest.raises(ValueError, match=message):
        unpack(tmp_path / "a.zip", tmp_path / "there", entries=100 if len(name) > 1 else 4999)
    assert list((tmp_path / "there").iterdir()) == []


def test_a_huge_link_target_is_not_read(folder: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        add_link(archive, "door", "a" * 5000)
    assert unpack(tmp_path / "a.zip", folder) == ["door"]


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compression_methods_that_unpack_in_unlimited_steps_are_rejected(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", method) as archive:
        archive.writestr("a", "a")
    with pytest.raises(ValueError, match="unsupported compression method"):
        unpack(tmp_path / "a.zip", tmp_path)


async def test_unpacking_ends_when_it_is_canceled(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for number in range(20_000):
            archive.writestr(str(number), "")
    there = tmp_path / "there"
    there.mkdir()
    limits = ArchiveLimits()
    task = asyncio.create_task(run_stoppable(lambda stop: unpacking.unpack(tmp_path / "a.zip", there, limits, stop)))
    await eventually(lambda: any(there.iterdir()))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    count = len(list(there.iterdir()))
    assert 0 < count < 20_000
    await asyncio.sleep(0.05)
    assert len(list(there.iterdir())) == count  # no file was added, so the thread has ended
