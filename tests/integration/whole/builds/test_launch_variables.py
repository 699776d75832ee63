"""Variables of a launch: the jobs that get them, where they are shown, and who may set them."""

from typing import Any

import httpx

from tests.support.external.repositories import commit_files, run_git
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner

Headers = dict[str, str]

GIVEN = [{"name": "TARGET", "value": "staging"}, {"name": "NOTE", "value": "two\nlines, $HOME"}]
PIPELINE = """
deploy: {script: x, variables: {TARGET: none}, rules: [{if: $TARGET == "staging"}]}
other: {script: x, rules: [{if: $TARGET == "live"}]}
"""


async def launch(
    system: BuildSystem, project: Body, variables: Any, ref: str | None = None, user: Headers | None = None
) -> httpx.Response:
    body = {"build": {"variables": variables, "ref": ref}}
    return await system.http.post(f"/api/developer/builds/{project['id']}", json=body, headers=user or system.admin)


async def error_of(
    system: BuildSystem, project: Body, variables: Any, ref: str | None = None, user: Headers | None = None
) -> str:
    """Launch a build. Return the code of the rejection.

    If the launch is accepted, kill the build, so that no runner of another test gets its job, and return an empty
    string.
    """
    answer = (await launch(system, project, variables, ref, user)).json()
    if executor_id := answer.get("executor_id"):
        path = f"/api/developer/builds/kill/queued/{executor_id}"
        assert (await system.http.delete(path, headers=system.admin)).status_code == 204
    return str(answer.get("message", ""))


def values_of(job: Body) -> dict[str, str]:
    return {variable["key"]: variable["value"] for variable in job["variables"]}


async def take_job(runner: FakeRunner, build_id: int) -> Body:
    job = await runner.wait_for_job()
    assert job["job_info"]["pipeline_id"] == build_id
    return job


async def register(system: BuildSystem, project: Body) -> FakeRunner:
    return await system.register_runner(f"/project/root/{project['alias']}/runners")


async def test_a_job_has_the_variables_in_each_attempt_and_the_build_shows_them(system: BuildSystem) -> None:
    project = await system.create_project()
    runner = await register(system, project)
    build_id = (await launch(system, project, GIVEN)).json()["build_id"]
    job = await take_job(runner, build_id)
    sent = {variable["key"]: variable for variable in job["variables"]}
    assert (sent["TARGET"]["value"], sent["TARGET"]["public"]) == ("staging", True)
    assert (sent["NOTE"]["value"], sent["NOTE"]["raw"]) == ("two\nlines, $HOME", True)
    await runner.report(job, "failed")
    await system.wait_until_ended(build_id)
    await system.post(f"/api/developer/builds/{build_id}/retry", status=204)
    again = await take_job(runner, build_id)
    assert values_of(again).items() >= {"TARGET": "staging"}.items()
    await runner.report(again, "success")
    assert (await system.get(f"/api/developer/builds/{build_id}/overview"))["variables"] == GIVEN
    plain = await system.launch_build(project)
    assert "TARGET" not in values_of(await take_job(runner, plain))


async def test_rules_and_the_plan_of_a_pipeline_use_the_variables(system: BuildSystem) -> None:
    commit_files(system.repository, {"variables/.gitlab-ci.yml": PIPELINE})
    project = await system.create_project(spec_file_path="/variables/.gitlab-ci.yml")
    runner = await register(system, project)
    body = {"build": {"variables": GIVEN}}
    plan = (await system.post(f"/api/developer/projects/{project['id']}/plan", body)).json()
    assert [job["name"] for job in plan["jobs"]] == ["deploy"]
    build_id = (await launch(system, project, GIVEN)).json()["build_id"]
    job = await take_job(runner, build_id)
    assert (job["job_info"]["name"], values_of(job)["TARGET"]) == ("deploy", "staging")
    assert [shown["name"] for shown in await system.get(f"/api/developer/builds/{build_id}/jobs")] == ["deploy"]


async def test_names_of_secrets_and_reserved_names_are_refused(system: BuildSystem) -> None:
    project = await system.create_project()
    secret = {"name": "LAUNCH_SECRET", "value": "hush-hush", "projects_id": [project["id"]]}
    await system.post("/api/admin/secrets", {"secret": secret}, 201)
    named = [{"name": "LAUNCH_SECRET", "value": "x"}]
    response = await launch(system, project, named)
    assert (response.status_code, response.json()["message"]) == (422, "BUILD_VARIABLES_RESERVED")
    assert "`LAUNCH_SECRET`" in response.json()["detail"]
    assert await error_of(system, project, [{"name": "PATH", "value": "x"}]) == "BUILD_VARIABLES_RESERVED"
    assert await error_of(system, await system.create_project(), named) == ""
    many = [{"name": f"A{number}", "value": "x" * 4096} for number in range(200)]
    for variables in ("A=1", [["A", "1"]], [{"name": "A"}], [{"name": "A", "value": 1}], [GIVEN[0], GIVEN[0]], many):
        response = await launch(system, project, variables)
        assert (response.status_code, response.json()["message"]) == (422, "BUILD_VARIABLES_INVALID")
    assert await error_of(system, project, None) == ""


async def test_only_maintainers_set_variables_for_a_protected_branch(system: BuildSystem) -> None:
    run_git(system.repository, "branch", "topic")
    project = await system.create_project()
    any_branch = await system.create_project(branch="*")
    for role in ("developer", "maintainer"):
        user_id = await system.create_user(f"variables-{role}")
        for one in (project, any_branch):
            path = f"/api/admin/projects/{one['id']}/members/{user_id}"
            await system.http.put(path, json={"member": {"role": role}}, headers=system.admin)
    developer = await system.log_in("variables-developer")
    maintainer = await system.log_in("variables-maintainer")
    denied = "BUILD_VARIABLES_NOT_ALLOWED"
    assert (await launch(system, project, GIVEN, user=developer)).status_code == 403
    assert await error_of(system, project, GIVEN, "main", developer) == denied
    assert await error_of(system, project, GIVEN, "refs/heads/main", developer) == denied
    assert await error_of(system, any_branch, GIVEN, user=developer) == denied
    plan = f"/api/developer/projects/{project['id']}/plan"
    refused = await system.http.post(plan, json={"build": {"variables": GIVEN}}, headers=developer)
    assert refused.json()["message"] == denied
    assert await error_of(system, project, [], "main", developer) == ""
    assert await error_of(system, project, GIVEN, "topic", developer) == ""
    assert await error_of(system, any_branch, GIVEN, "topic", developer) == ""
    assert await error_of(system, project, GIVEN, "main", maintainer) == ""
    assert await error_of(system, any_branch, GIVEN, user=maintainer) == ""
