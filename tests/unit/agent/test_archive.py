"""Archives of a job's folder: which names patterns mean, and that nothing leads out of the folder."""

import os
import stat
import zipfile
from pathlib import Path
from threading import Event

import pytest

from agent.archive import Stopped, found, pack, unpack

FILES = ("a.txt", "out/app", "out/lib/one.o", "out/lib/two.c", "src/main.c", ".hidden/x", ".git/config")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    return folder


def files(folder: Path, *paths: str, exclude: tuple[str, ...] = (), also: tuple[str, ...] = ()) -> list[str]:
    return [name for name in found(folder, paths, exclude, also) if (folder / name).is_file()]


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
def test_a_pattern_means_these_files(folder: Path, pattern: str, expected: list[str]) -> None:
    assert files(folder, pattern) == expected


def test_a_path_may_begin_with_that_of_the_folder(folder: Path) -> None:
    assert files(folder, f"{folder}/src") == ["src/main.c"]


def test_what_is_excluded_is_left_out_and_a_folders_name_alone_excludes_no_file(folder: Path) -> None:
    assert files(folder, "out", exclude=("out/lib/*.o", "out/lib")) == ["out/app", "out/lib/two.c"]


def test_files_that_git_does_not_know_need_no_pattern(folder: Path) -> None:
    assert files(folder, also=("a.txt", "src/main.c"), exclude=("*.txt",)) == ["src/main.c"]


def test_a_pattern_without_sense_is_named(folder: Path) -> None:
    with pytest.raises(ValueError, match="makes no sense"):
        found(folder, ["out/[z-a]"], ())


def test_no_pattern_takes_longer_than_its_names(folder: Path) -> None:
    deep = folder / "/".join("a" * 40)
    deep.mkdir(parents=True)
    (deep / "b").write_text("")
    assert found(folder, ["**/" * 60 + "*a*a*a*a*a*a*a*a*c"], ()) == []


def test_contents_modes_empty_folders_and_inner_links_survive(folder: Path, tmp_path: Path) -> None:
    (folder / "out/app").chmod(0o755)
    (folder / "out/empty").mkdir()
    (folder / "out/latest").symlink_to("lib/one.o")
    there = tmp_path / "there"
    there.mkdir()
    assert pack(folder, found(folder, ["out"], ()), tmp_path / "a.zip", Event()) == []
    assert unpack(tmp_path / "a.zip", there) == []
    assert (there / "out/lib/two.c").read_text() == "out/lib/two.c"
    assert stat.S_IMODE((there / "out/app").stat().st_mode) == 0o755
    assert (there / "out/empty").is_dir()
    assert os.readlink(there / "out/latest") == "lib/one.o"


def test_links_that_lead_out_pipes_and_what_lies_behind_links_stay_outside(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("hush")
    (folder / "out/key").symlink_to(secret / "key")
    (folder / "out/secret").symlink_to(secret)
    os.mkfifo(folder / "out/pipe")
    names = found(folder, ["out/key", "out/secret", "out/secret/key", "out/pipe"], ())
    assert sorted(pack(folder, names, tmp_path / "a.zip", Event())) == ["out/key", "out/pipe", "out/secret"]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == []


def test_a_folder_that_became_a_link_holds_nothing(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(folder)
    assert found(tmp_path / "link", ["**"], ()) == []


def test_an_archive_that_nobody_waits_for_is_not_finished(folder: Path, tmp_path: Path) -> None:
    stop = Event()
    stop.set()
    with pytest.raises(Stopped):
        pack(folder, ["a.txt"], tmp_path / "a.zip", stop)


@pytest.mark.parametrize(
    "name", ["../escaped", "/escaped", "a/../../escaped", "link/escaped", ".git/hooks/post-checkout"]
)
def test_no_entry_of_an_archive_is_written_elsewhere(folder: Path, tmp_path: Path, name: str) -> None:
    (folder / "link").symlink_to(tmp_path)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(name, "evil")
        archive.writestr("fine", "good")
    assert unpack(tmp_path / "a.zip", folder) == [name]
    assert (folder / "fine").read_text() == "good"
    assert not (tmp_path / "escaped").exists()
    assert not (folder / ".git/hooks").exists()


def test_a_link_in_an_archive_does_not_lead_out_nor_is_one_written_through(folder: Path, tmp_path: Path) -> None:
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


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"no zip")
    with pytest.raises(ValueError, match="cannot be read"):
        unpack(tmp_path / "a.zip", tmp_path)
