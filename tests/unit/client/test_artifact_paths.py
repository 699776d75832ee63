"""Downloaded files stay in the chosen folder, whatever names the server sends."""

from pathlib import Path

import pytest

from client.commands.building.artifacts import target_paths
from client.errors import UsageError


def paths(*names: tuple[str, str]) -> list[str]:
    rows = [{"job": job, "file_name": name} for job, name in names]
    return [str(path) for _, path in target_paths(rows, Path("out"))]


def test_files_of_several_jobs_with_one_name_have_a_folder_per_job() -> None:
    assert paths(("a", "x.zip"), ("b", "x.zip"), ("b", "y.zip")) == ["out/a/x.zip", "out/b/x.zip", "out/y.zip"]


def test_a_name_cannot_leave_the_folder() -> None:
    assert paths(("a", "../../etc/passwd")) == ["out/passwd"]
    assert paths(("../a", "x"), ("b", "x")) == ["out/a/x", "out/b/x"]


@pytest.mark.parametrize("name", ["..", "", "a/..", "a\nb"])
def test_a_name_that_is_not_a_file_is_rejected(name: str) -> None:
    with pytest.raises(UsageError):
        paths(("a", name))
