"""`headrace plan`: the jobs, warnings and errors of a file, without a server."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from infra.cli import app
from tests.support.external.repositories import run_git

PIPELINE = """
include: {local: /ci/more.yml}
stages: [build, test]
pages: {script: [echo built], stage: build, image: "alpine:3"}
unit:
  script: make test
  stage: test
  needs: [pages]
  rules:
    - if: $CI_COMMIT_BRANCH == "main" && $DEPLOY_KEY
    - exists: [never.txt]
  environment: production
"""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    run_git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    (tmp_path / "ci").mkdir()
    (tmp_path / "ci" / "more.yml").write_text("lint: {script: ruff, stage: test, allow_failure: true}\n")
    (tmp_path / ".gitlab-ci.yml").write_text(PIPELINE)
    run_git(tmp_path, "add", "--all")
    run_git(tmp_path, "-c", "user.name=dana", "-c", "user.email=d@example.org", "commit", "--quiet", "-m", "first")
    return tmp_path


def plan(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["plan", *arguments])


def job_names(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return [job["name"] for job in json.loads(result.stdout)["jobs"]]


def test_jobs_are_listed_with_those_of_included_files(repository: Path) -> None:
    file = str(repository / ".gitlab-ci.yml")
    assert job_names(plan(file, "--json")) == ["pages", "lint"]
    assert job_names(plan(file, "--json", "--variable", "DEPLOY_KEY=x")) == ["pages", "lint", "unit"]
    assert job_names(plan(file, "--json", "--variable", "DEPLOY_KEY=x", "--ref", "other")) == ["pages", "lint"]
    assert "environment" in plan(file).stderr


def test_an_error_has_line_and_column(tmp_path: Path) -> None:
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text("unit:\n  script: {a: 1}\n")
    result = plan(str(file))
    assert result.exit_code == 1
    assert f"{file}: line 2, column 11" in result.stderr
    assert json.loads(plan(str(file), "--json").stdout)["jobs"] == []


def test_an_included_file_outside_of_the_repository_is_not_read(
    repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    outside = tmp_path_factory.mktemp("outside") / "more.yml"
    outside.write_text("lint: {script: x}\n")
    (repository / "ci" / "more.yml").unlink()
    (repository / "ci" / "more.yml").symlink_to(outside)
    assert "which the commit does not have" in plan(str(repository / ".gitlab-ci.yml")).stderr


def test_the_steps_of_a_spec_file_are_listed(tmp_path: Path) -> None:
    file = tmp_path / "headrace.yaml"
    file.write_text('version: "1.0"\nfrom: debian\nsteps: [{name: "@build", script: /ci/build.sh}]\n')
    assert plan(str(file)).stdout == "name\timage\tsteps\nbuild\tdebian\t@build\n"
    assert plan(str(tmp_path / "missing.yaml")).exit_code == 2
