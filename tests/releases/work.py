"""Builds that wait for each other, and mails that are sent, refused and given up."""

from tests.releases.changes import patch_resource
from tests.support import eventually
from tests.support.external.forge_webhooks import github_headers, github_push_body
from tests.support.external.repositories import run_git
from tests.support.in_process.whole_stage import Body, BuildSystem, FakeRunner

LOCK_PIPELINE = """
open:
  tags: [lock]
  script: [echo the water rises]
"""
REJECTED_RECIPIENT = "hal@example.org"  # the mail server takes nothing for this recipient


async def run_projects_in_turn(here: BuildSystem, project: Body, worker: FakeRunner) -> None:
    """Two projects that one runner serves in turns."""
    other = await here.create_project(name="Race", alias="race")
    builds = [await here.launch_build(other), await here.launch_build(project)]

    async def queued() -> bool:
        return all([await here.get(f"/api/developer/builds/{one}/jobs") for one in builds])

    await eventually(queued)
    for _ in builds:
        await worker.report(await worker.wait_for_job(), "success")
    for build in builds:
        await here.wait_until_ended(build)


async def fill_concurrency_group(here: BuildSystem) -> Body:
    """One build ends and frees the lane, the next waits for a runner, and a pushed one waits for that."""
    project = await here.create_project(
        name="Lock", alias="lock", allow_concurrent_execution=False, spec_file_path="/lock/.gitlab-ci.yml"
    )
    keeper = await here.register_runner(name="keeper", tag_list="lock", run_untagged=False)
    first, second = await here.launch_build(project), await here.launch_build(project)
    await keeper.report(await keeper.wait_for_job(), "success")
    await here.wait_until_ended(first)

    async def planned() -> bool:
        return bool(await here.get(f"/api/developer/builds/{second}/jobs"))

    await eventually(planned)
    key = (await here.get(f"/api/admin/projects/{project['id']}"))["signature_key"]
    body = github_push_body(run_git(here.repository, "rev-parse", "HEAD"), "refs/heads/main")
    path = f"/api/guest/webhooks/build/{project['id']}"
    answer = await here.http.post(path, content=body, headers=github_headers(key, body))
    assert answer.status_code == 201, answer.text

    third = second + 1  # no other build begins meanwhile

    async def waits() -> bool:
        answer = await here.http.get(f"/api/developer/builds/{third}", headers=here.admin)
        return answer.status_code == 200

    await eventually(waits)
    return {"holds": second, "waits": third}


async def cause_emails(here: BuildSystem) -> int:
    """Builds that fail at once; one launcher has an address that takes mails, the other one's takes none."""
    project = await here.create_project(name="Chaff", alias="chaff", spec_file_path="/nowhere.yaml")
    hal = await here.create_user("hal", "ROLE_DEVELOPER", "ROLE_ADMIN")
    await patch_resource(here, f"/api/admin/developers/{hal}/email", developer={"email": REJECTED_RECIPIENT})
    for username in ("ada", "hal"):
        await run_failing_build(here, int(project["id"]), username)
    await here.post("/api/admin/config/mail/test/eve@example.org")
    return int(project["id"])


async def run_failing_build(here: BuildSystem, project_id: int, username: str) -> None:
    path, headers = f"/api/developer/builds/{project_id}", await here.log_in(username)
    launched = await here.http.post(path, headers=headers)
    assert launched.status_code == 200, launched.text
    await here.wait_until_ended(launched.json()["build_id"])
