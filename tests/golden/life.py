"""A life of a server: of everything that a log can hold there is something, also of what was deleted and erased."""

import asyncio
import io
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path

from agent.config import Config
from agent.runner import run
from tests.golden.changes import delete, every_setting, patch
from tests.golden.work import LOCK, lanes, mails, turns
from tests.integration.whole_stage import PASSWORD, Body, RunnerAtWork, Whole
from tests.support import eventually
from tests.support.forges import github, github_push
from tests.support.repositories import commit
from tests.support.ssh_keys import new_key

SPEC = "\n".join(
    [
        "version: '1.0'",
        "from: debian",
        "steps:",
        "  - {name: '@build', script: /ci/build.sh}",
        "  - {name: '@test', script: /ci/test.sh}",
        "  - {name: '@cleanup', script: /ci/cleanup.sh}",
    ]
)
PIPELINE = """
make:
  stage: build
  script: [mkdir -p dist, echo made > dist/wheel]
  artifacts: {paths: [dist/]}
lint:
  stage: build
  script: [exit 3]
  allow_failure: true
grind:
  stage: test
  script: [cat dist/wheel, exit 4]
  retry: 1
ship:
  stage: deploy
  when: manual
  script: [echo shipped]
"""
DEPLOY_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one\n-----END OPENSSH PRIVATE KEY-----"
SECRET = "s3same-mill-stream"
BOUNDARY = "a3f1c0ffee"


@dataclass
class Left:
    """What people and runners still hold when the release is replaced."""

    tokens: dict[str, str] = field(default_factory=dict)  # personal ones
    runners: dict[str, str] = field(default_factory=dict)  # name -> token
    running: Body = field(default_factory=dict)  # a job on a runner: number, token, bytes of its log so far
    queued: int = 0  # a build that waits
    project: int = 0  # a project to build again
    lane: Body = field(default_factory=dict)  # a build that waits for its runner, and one that waits for that build
    mails: int = 0  # a project whose builds fail at once
    locked_out: str = ""  # a user with too many failed logins
    unfinished: Body = field(default_factory=dict)  # work that is pending in durable consumers; see unfinished.py
    read: dict[str, Body] = field(default_factory=dict)  # stream -> what an outside consumer read last of its copy


async def live(here: Whole, folder: Path) -> Left:
    left = Left()
    files = {"headrace.yaml": SPEC, "ci/build.sh": "echo turning with $MILL_KEY\n", "ci/test.sh": "exit 0\n"}
    commit(here.repository, {**files, "ci/cleanup.sh": "echo swept\n", "ci/bad.sh": "exit 7\n"})
    commit(here.repository, {"broken/headrace.yaml": "steps: 7", "pipeline/.gitlab-ci.yml": PIPELINE})
    bad = SPEC.replace("/ci/test.sh", "/ci/bad.sh")
    commit(here.repository, {"bad/headrace.yaml": bad, "lock/.gitlab-ci.yml": LOCK})
    ada = await people(here, left)
    project, company = await settings_of_projects(here, ada)
    left.project = project["id"]
    worker = await runners(here, left, project, company)
    await every_setting(here, left.tokens)
    left.locked_out = "gus"
    await builds(here, project, worker, folder)
    await turns(here, project, worker)
    left.lane = await lanes(here)
    left.mails = await mails(here)
    await here.launched(project)
    left.running = await half_done(here, worker)
    left.queued = await here.launched(project)
    await patch(here, f"/api/admin/builds/{left.queued}/priority", build={"priority": 7})
    return left


async def people(here: Whole, left: Left) -> int:
    ada = await here.user("ada", "ROLE_DEVELOPER", "ROLE_ADMIN")
    for field_, value in (
        ("email", "ada@example.org"),
        ("github_username", "Octo-Ada"),
        ("gitlab_username", "tanuki-ada"),
    ):
        await patch(here, f"/api/admin/developers/{ada}/{field_}", developer={field_: value})
    bob, eve = await here.user("bob"), await here.user("eve")
    await patch(here, f"/api/admin/developers/{bob}/username", developer={"username": "robert"})
    await patch(here, f"/api/admin/developers/{bob}/enabled", developer={"enabled": False})
    await patch(here, f"/api/admin/developers/{eve}/email", developer={"email": "eve@example.org"})
    await delete(here, f"/api/admin/developers/{eve}")  # her address is erased from the log
    for name, title in (("ada", "laptop"), ("ada", "lost one")):
        body = {"publicKey": new_key(), "title": title, "expiresAt": "2099-12-31"}
        made = await here.http.post(f"/api/admin/user/{name}/key/create", headers=here.admin, json=body)
        assert made.status_code == 200, made.text
    lost = made.json()["uuid"]
    await delete(here, f"/api/admin/user/ada/key/delete/{lost}")
    as_ada = await here.logged_in("ada")
    for name in ("nightly", "leaked"):
        token: Body = {"name": name, "expires_at": "2099-12-31", "scopes": ["PROJECT_READ", "BUILD_WRITE"]}
        made = await here.http.post("/api/user/tokens", headers=as_ada, json={"token": token})
        assert made.status_code == 201, made.text
        left.tokens[name] = made.json()["value"]
    await here.http.delete(f"/api/user/tokens/{made.json()['id']}", headers=as_ada)
    return ada


async def settings_of_projects(here: Whole, ada: int) -> tuple[Body, Body]:
    company = await here.company(ada, alias="mill")
    await patch(here, f"/api/admin/companies/{company['id']}/title", company={"title": "Mill & Sons"})
    gone = await here.company()
    await delete(here, f"/api/admin/companies/{gone['id']}")
    project = await here.project("mill", name="Wheel", alias="wheel", description="it turns", keep_number_build=50)
    second = await here.project("ada", name="Brook", alias="brook", allow_concurrent_execution=False)
    removed = await here.project(name="Dry")
    for name, value in (("name", "Mill wheel"), ("protected_branches", ["main", "release/*"])):
        await patch(here, f"/api/admin/projects/{project['id']}/{name}", project={name: value})
    await patch(here, f"/api/admin/projects/{second['id']}/developers", project={"developers_id": [ada]})
    secret = {"name": "MILL_KEY", "value": SECRET, "env": "production", "projects_id": [project["id"]]}
    await here.post("/api/admin/secrets", {"secret": secret}, 201)
    await here.post("/api/admin/secrets", {"secret": {"name": "EVERYWHERE", "value": "global-value-1"}}, 201)
    former = await here.post("/api/admin/secrets", {"secret": {"name": "FORMER", "value": "gone-value-2"}}, 201)
    await delete(here, f"/api/admin/secrets/{former.json()['id']}")
    credential = {"name": "deploy key", "ssh_key": DEPLOY_KEY}
    made = (await here.post("/api/admin/credentials", {"credential": credential}, 201)).json()
    chosen = {"repository_credential_id": made["id"]}
    await patch(here, f"/api/admin/projects/{second['id']}/repository_credential", project=chosen)
    executor = {"name": "millstone", "driver": "localDriver", "variables": {"GRAIN": "rye"}}
    await here.post("/api/admin/executors", {"executor": executor}, 201)
    await delete(here, f"/api/admin/projects/{removed['id']}")
    return project, company


async def runners(here: Whole, left: Left, project: Body, company: Body) -> RunnerAtWork:
    own = "/project/mill/wheel/runners"
    everybodys = await here.runner(name="miller", description="builds anything", tag_list="linux,docker")
    companys = await here.runner("/company/mill/runners", name="journeyman", run_untagged=False, tag_list="heavy")
    projects = await here.runner(own, name="apprentice", tag_list="light", run_untagged=False)
    deleted = await here.runner(name="wanderer", run_untagged=False, tag_list="none")
    edit = {"description": "grinds heavy grain", "tags": ["heavy", "slow"], "maxTimeoutInSec": 7200, "isLocked": True}
    await here.post(f"/api/admin/runners/{companys.uuid}/edit", edit)
    await here.post(f"/api/admin/runners/{projects.uuid}/shutdown")
    await delete(here, f"/api/admin/runners/{deleted.uuid}")
    await here.post("/api/admin/runners/reset-registration-token")
    left.runners = {"miller": everybodys.token, "journeyman": companys.token, "apprentice": projects.token}
    assert project["owner_alias"] == company["alias"]
    return everybodys


async def builds(here: Whole, project: Body, worker: RunnerAtWork, folder: Path) -> None:
    url = str(here.http.base_url).rstrip("/")
    config = Config(url=url, token=worker.token, id=1, name="miller", system_id="s", builds_dir=str(folder / "builds"))

    async def work(times: int) -> None:
        for _ in range(times):
            await run(config, stop=asyncio.Event(), once=True)

    async def spec(path: str) -> None:
        await patch(here, f"/api/admin/projects/{project['id']}/spec_file_path", project={"spec_file_path": path})

    good = await here.launched(project)
    await work(1)
    assert (await here.ended(good))["exit_code"] == 0
    for path, attempts in (("/bad/headrace.yaml", 1), ("/broken/headrace.yaml", 0), ("/nowhere.yaml", 0)):
        await spec(path)
        failed = await here.launched(project)
        await work(attempts)
        assert (await here.ended(failed))["exit_code"] != 0
    await spec("/pipeline/.gitlab-ci.yml")
    pipeline = await here.launched(project)
    await work(4)  # make, lint, grind and grind again
    assert (await here.ended(pipeline))["exit_code"] == 4
    await resumed(here, pipeline, worker)
    await spec("/headrace.yaml")
    await pushed(here, project, worker)
    killed = (await here.build(await here.launched(project)))["executor_id"]
    await delete(here, f"/api/developer/builds/kill/queued/{killed}")
    await given_back(here, project, worker)
    forgotten = await here.launched(project)
    await work(1)
    await here.ended(forgotten)
    await delete(here, f"/api/admin/builds/{forgotten}")
    await with_artifact(here, project, worker, expire_in="never")
    expired = await with_artifact(here, project, worker, expire_in="1 sec")

    async def removed() -> bool:
        return not await here.get(f"/api/developer/jobs/{expired}/artifacts")

    await eventually(removed)
    await canceled(here, project, worker)


async def resumed(here: Whole, build: int, worker: RunnerAtWork) -> None:
    """Its failed job is tried once more, and succeeds."""
    (failed,) = [one for one in await here.get(f"/api/developer/builds/{build}/jobs") if one["name"] == "grind"]
    await here.post(f"/api/developer/jobs/{failed['id']}/retry", status=204)
    await worker.report(await worker.job(), "success")

    async def succeeded() -> bool:
        return bool((await here.build(build))["exit_code"] == 0)

    await eventually(succeeded)


async def canceled(here: Whole, project: Body, worker: RunnerAtWork) -> None:
    """Its runner cleans up before the build ends."""
    build = await here.launched(project)
    job = await replace(worker, features={"cancel_gracefully": True}).job()
    await worker.report(job, "running")
    killed = (await here.build(build))["executor_id"]
    await delete(here, f"/api/developer/builds/kill/executed/{killed}")
    await worker.report(job, "success")
    await here.ended(build)


async def pushed(here: Whole, project: Body, worker: RunnerAtWork) -> None:
    """A push is built, one of another branch is not, and one with a wrong signature is refused."""
    shown = await here.get(f"/api/admin/projects/{project['id']}")
    head = commit(here.repository, {"pushed": "yes"})
    path = f"/api/guest/webhooks/build/{project['id']}"
    for key, ref, status in (
        (shown["signature_key"], "refs/heads/main", 201),
        (shown["signature_key"], "refs/heads/topic", 200),
        ("wrong", "refs/heads/main", 401),
    ):
        body = github_push(head, ref)
        answer = await here.http.post(path, content=body, headers=github(key, body))
        assert answer.status_code == status, answer.text
    job = await worker.job()
    await worker.report(job, "success")


async def given_back(here: Whole, project: Body, worker: RunnerAtWork) -> None:
    """The runner cannot prepare the job: it is tried again, and then it succeeds."""
    build = await here.launched(project)
    job = await worker.job()
    lost = {"token": job["token"], "state": "failed", "failure_reason": "runner_system_failure"}
    await here.http.put(f"/api/v4/jobs/{job['id']}", json=lost)
    again = await worker.job()
    assert again["id"] == job["id"]
    await worker.report(again, "success")
    await here.ended(build)


async def with_artifact(here: Whole, project: Body, worker: RunnerAtWork, expire_in: str) -> int:
    build = await here.launched(project)
    job = await worker.job()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("flour.txt", "fine\n")
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="flour.zip"\r\n\r\n'
    answer = await here.http.post(
        f"/api/v4/jobs/{job['id']}/artifacts?artifact_format=zip&artifact_type=archive&expire_in={expire_in}",
        content=head.encode() + packed.getvalue() + f"\r\n--{BOUNDARY}--\r\n".encode(),
        headers={"JOB-TOKEN": job["token"], "Content-Type": f"multipart/form-data; boundary={BOUNDARY}"},
    )
    assert answer.status_code == 201, answer.text
    await worker.report(job, "success")
    await here.ended(build)
    return int(job["id"])


async def half_done(here: Whole, worker: RunnerAtWork) -> Body:
    """A job in the middle of its log."""
    job = await worker.job()
    assert await worker.report(job, "running")
    text = b"half of the log\n"
    answer = await here.http.patch(
        f"/api/v4/jobs/{job['id']}/trace",
        content=text,
        headers={"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(text) - 1}", "Content-Type": "text/plain"},
    )
    assert answer.status_code == 202, answer.text

    async def runs() -> bool:
        return bool(await here.get("/api/developer/builds/executeds"))

    await eventually(runs)
    return {"id": job["id"], "token": job["token"], "length": len(text)}


__all__ = ["PASSWORD", "SECRET", "Left", "live"]
