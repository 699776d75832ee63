"""Builds that wait for each other, and e-mails that are sent, rejected and abandoned."""

from tests.releases.changes import patch_resource
from tests.support.external.forge_webhooks import github_headers, github_push_body
from tests.support.external.repositories import run_git
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually

LOCK_PIPELINE = """
open:
  tags: [lock]
  script: [echo the water rises]
"""
REJECTED_RECIPIENT = "hal@example.org"  # the mail server rejects messages to this address


async def run_projects_in_turn(system: BuildSystem, project: Body, worker: FakeRunner) -> None:
    """Run builds of two projects, which one runner serves in turn."""
    other = await system.create_project(name="Race", alias="race")
    builds = [await system.launch_build(other), await system.launch_build(project)]

    async def are_queued() -> bool:
        return all([await system.get(f"/api/developer/builds/{build}/jobs") for build in builds])

    await eventually(are_queued)
    for _ in builds:
        await worker.report(await worker.wait_for_job(), "success")
    for build in builds:
        await system.wait_until_ended(build)


async def fill_concurrency_group(system: BuildSystem) -> Body:
    """Leave a finished build, one that holds the slot and waits for a runner, and one that waits for the slot.

    Return the ids of the two waiting builds.
    """
    project = await system.create_project(
        name="Lock", alias="lock", allow_concurrent_execution=False, spec_file_path="/lock/.gitlab-ci.yml"
    )
    keeper = await system.register_runner(name="keeper", tag_list="lock", run_untagged=False)
    first, second = await system.launch_build(project), await system.launch_build(project)
    await keeper.report(await keeper.wait_for_job(), "success")
    await system.wait_until_ended(first)

    async def is_planned() -> bool:
        return bool(await system.get(f"/api/developer/builds/{second}/jobs"))

    await eventually(is_planned)
    key = (await system.get(f"/api/admin/projects/{project['id']}"))["signature_key"]
    body = github_push_body(run_git(system.repository, "rev-parse", "HEAD"), "refs/heads/main")
    path = f"/api/guest/webhooks/build/{project['id']}"
    response = await system.http.post(path, content=body, headers=github_headers(key, body))
    assert response.status_code == 201, response.text

    third = second + 1  # the id of the build that the push has launched: no other build was launched after `second`

    async def is_waiting() -> bool:
        response = await system.http.get(f"/api/developer/builds/{third}", headers=system.admin)
        return response.status_code == 200

    await eventually(is_waiting)
    return {"holds": second, "waits": third}


async def cause_emails(system: BuildSystem) -> int:
    """Cause an accepted, a rejected and a test e-mail. Return the id of the project with failing builds."""
    project = await system.create_project(name="Chaff", alias="chaff", spec_file_path="/nowhere.yaml")
    hal = await system.create_user("hal", "ROLE_DEVELOPER", "ROLE_ADMIN")
    await patch_resource(system, f"/api/admin/developers/{hal}/email", developer={"email": REJECTED_RECIPIENT})
    for username in ("ada", "hal"):
        await run_failing_build(system, int(project["id"]), username)
    await system.post("/api/admin/config/mail/test/eve@example.org")
    return int(project["id"])


async def run_failing_build(system: BuildSystem, project_id: int, username: str) -> None:
    path, headers = f"/api/developer/builds/{project_id}", await system.log_in(username)
    launched = await system.http.post(path, headers=headers)
    assert launched.status_code == 200, launched.text
    await system.wait_until_ended(launched.json()["build_id"])
