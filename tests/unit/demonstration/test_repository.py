"""The demonstration's repository."""

import subprocess
from pathlib import Path

import yaml

from infra.demonstration.repository import chosen


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_sample_is_a_repository_with_all_scripts_that_its_spec_names(tmp_path: Path) -> None:
    sample = chosen({}, tmp_path / "sample")
    steps = yaml.safe_load((tmp_path / "sample" / "headrace.yaml").read_text())["steps"]
    committed = git(tmp_path / "sample", "ls-tree", "-r", "--name-only", sample.branch).splitlines()
    assert {step["script"].removeprefix("/") for step in steps} <= set(committed)
    assert git(tmp_path / "sample", "status", "--porcelain") == ""


def test_the_sample_is_made_anew_each_time(tmp_path: Path) -> None:
    chosen({}, tmp_path / "sample")
    (tmp_path / "sample" / "left").write_text("by somebody")
    chosen({}, tmp_path / "sample")
    assert not (tmp_path / "sample" / "left").exists()


def test_a_local_repository_is_named_by_its_whole_path(tmp_path: Path) -> None:
    repository = chosen({"REPO": f"{tmp_path}/../{tmp_path.name}"}, tmp_path / "sample")
    assert Path(repository.address).is_absolute()
    assert (repository.branch, repository.spec, repository.is_sample) == ("*", "/headrace.yaml", False)


def test_an_address_stays_as_it_is(tmp_path: Path) -> None:
    environ = {"REPO": "https://git.example.org/a.git", "BRANCH": "next", "SPEC": "/ci.yaml"}
    repository = chosen(environ, tmp_path / "sample")
    assert (repository.address, repository.branch, repository.spec) == (environ["REPO"], "next", "/ci.yaml")
