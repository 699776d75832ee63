"""The repository that the demo builds."""

import subprocess
from pathlib import Path

import yaml

from infra.demo.repository import select_repository


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def test_the_sample_repository_contains_all_scripts_of_its_spec_file(tmp_path: Path) -> None:
    sample = select_repository({}, tmp_path / "sample")
    steps = yaml.safe_load((tmp_path / "sample" / "headrace.yaml").read_text())["steps"]
    committed = git(tmp_path / "sample", "ls-tree", "-r", "--name-only", sample.branch).splitlines()
    assert {step["script"].removeprefix("/") for step in steps} <= set(committed)
    assert git(tmp_path / "sample", "status", "--porcelain") == ""


def test_the_sample_repository_is_recreated_each_time(tmp_path: Path) -> None:
    select_repository({}, tmp_path / "sample")
    (tmp_path / "sample" / "left").write_text("by another user")
    select_repository({}, tmp_path / "sample")
    assert not (tmp_path / "sample" / "left").exists()


def test_a_local_repository_gets_an_absolute_path(tmp_path: Path) -> None:
    repository = select_repository({"REPO": f"{tmp_path}/../{tmp_path.name}"}, tmp_path / "sample")
    assert Path(repository.url).is_absolute()
    assert (repository.branch, repository.spec, repository.is_sample) == ("*", "/headrace.yaml", False)


def test_a_repository_url_is_used_unchanged(tmp_path: Path) -> None:
    environ = {"REPO": "https://git.example.org/a.git", "BRANCH": "next", "SPEC": "/ci.yaml"}
    repository = select_repository(environ, tmp_path / "sample")
    assert (repository.url, repository.branch, repository.spec) == (environ["REPO"], "next", "/ci.yaml")
