"""Plans without a launch: jobs and warnings of a branch, or errors with file, line and column."""

from typing import Any

from tests.support.external.repositories import commit_files, create_sample_repository, run_git
from tests.support.in_process.build_system import Body, BuildSystem

PIPELINE = """
stages: [build, test]
compile: {stage: build, script: make, tags: [linux]}
check: {stage: test, script: make check, needs: [compile], retry: {max: 1, wrong: 1}}
"""


async def plan(system: BuildSystem, project: Body, ref: str | None = None) -> Any:
    response = await system.post(f"/api/developer/projects/{project['id']}/plan", {"build": {"ref": ref}})
    return response.json()


async def test_a_plan_lists_the_jobs_and_launches_nothing(system: BuildSystem) -> None:
    project = await system.create_project()
    found = await plan(system, project)
    assert found["errors"] == []
    assert (found["ref"], found["sha"]) == ("refs/heads/main", run_git(system.repository, "rev-parse", "main"))
    assert [(job["name"], job["steps"]) for job in found["jobs"]] == [("build", ["@build"])]
    assert (await system.get("/api/developer/builds", params={"project": project["id"]}))["builds"] == []


async def test_the_plan_of_a_pipeline_has_needs_and_an_invalid_one_the_place_of_the_error(
    system: BuildSystem,
) -> None:
    repository = create_sample_repository(system.repository.parent / "planned")
    pipeline = PIPELINE.replace(", retry: {max: 1, wrong: 1}", "")
    commit_files(repository, {".gitlab-ci.yml": pipeline})
    project = await system.create_project(repository=str(repository), spec_file_path="/.gitlab-ci.yml")
    jobs = (await plan(system, project))["jobs"]
    assert [(job["name"], job["stage"], job["needs"], job["tags"]) for job in jobs] == [
        ("compile", "build", None, ["linux"]),
        ("check", "test", ["compile"], []),
    ]
    commit_files(repository, {".gitlab-ci.yml": "compile: {stage: nowhere, script: make}\n"})
    (error,) = (await plan(system, project))["errors"]
    assert (error["code"], error["line"]) == ("SPEC_INVALID", 1)
    assert error["column"] > 1


async def test_a_plan_says_what_is_missing(system: BuildSystem) -> None:
    project = await system.create_project(spec_file_path="/none.yaml")
    assert [error["code"] for error in (await plan(system, project))["errors"]] == ["SPEC_NOT_FOUND"]
    assert [error["code"] for error in (await plan(system, project, "no-branch"))["errors"]] == ["REF_NOT_FOUND"]
    away = await system.create_project(repository=str(system.repository.parent / "away"))
    assert [error["code"] for error in (await plan(system, away))["errors"]] == ["REPOSITORY_UNREACHABLE"]
