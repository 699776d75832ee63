"""Builds that wait for each other, and mails that are sent, refused and given up."""

from tests.golden.changes import patch
from tests.integration.whole_stage import Body, RunnerAtWork, Whole
from tests.support import eventually
from tests.support.forges import github, github_push
from tests.support.repositories import git

LOCK = """
open:
  tags: [lock]
  script: [echo the water rises]
"""
REFUSED = "hal@example.org"  # the mail server takes nothing for this recipient


async def turns(here: Whole, project: Body, worker: RunnerAtWork) -> None:
    """Two projects that one runner serves in turns."""
    other = await here.project(name="Race", alias="race")
    builds = [await here.launched(other), await here.launched(project)]

    async def queued() -> bool:
        return all([await here.get(f"/api/developer/builds/{one}/jobs") for one in builds])

    await eventually(queued)
    for _ in builds:
        await worker.report(await worker.job(), "success")
    for build in builds:
        await here.ended(build)


async def lanes(here: Whole) -> Body:
    """One build ends and frees the lane, the next waits for a runner, and a pushed one waits for that."""
    project = await here.project(
        name="Lock", alias="lock", allow_concurrent_execution=False, spec_file_path="/lock/.gitlab-ci.yml"
    )
    keeper = await here.runner(name="keeper", tag_list="lock", run_untagged=False)
    first, second = await here.launched(project), await here.launched(project)
    await keeper.report(await keeper.job(), "success")
    await here.ended(first)

    async def planned() -> bool:
        return bool(await here.get(f"/api/developer/builds/{second}/jobs"))

    await eventually(planned)
    key = (await here.get(f"/api/admin/projects/{project['id']}"))["signature_key"]
    body = github_push(git(here.repository, "rev-parse", "HEAD"), "refs/heads/main")
    path = f"/api/guest/webhooks/build/{project['id']}"
    answer = await here.http.post(path, content=body, headers=github(key, body))
    assert answer.status_code == 201, answer.text

    third = second + 1  # no other build begins meanwhile

    async def waits() -> bool:
        answer = await here.http.get(f"/api/developer/builds/{third}", headers=here.admin)
        return answer.status_code == 200

    await eventually(waits)
    return {"holds": second, "waits": third}


async def mails(here: Whole) -> int:
    """Builds that fail at once; one launcher has an address that takes mails, the other one's takes none."""
    project = await here.project(name="Chaff", alias="chaff", spec_file_path="/nowhere.yaml")
    hal = await here.user("hal", "ROLE_DEVELOPER", "ROLE_ADMIN")
    await patch(here, f"/api/admin/developers/{hal}/email", developer={"email": REFUSED})
    for username in ("ada", "hal"):
        await failing_build(here, int(project["id"]), username)
    await here.post("/api/admin/config/mail/test/eve@example.org")
    return int(project["id"])


async def failing_build(here: Whole, project_id: int, username: str) -> None:
    path, headers = f"/api/developer/builds/{project_id}", await here.logged_in(username)
    launched = await here.http.post(path, headers=headers)
    assert launched.status_code == 200, launched.text
    await here.ended(launched.json()["build_id"])
