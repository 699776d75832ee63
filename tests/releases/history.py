"""A history with every type of event that this release records, and with data that is deleted or erased."""

from dataclasses import dataclass, field
from pathlib import Path

from tests.releases.builds import PIPELINE, run_builds, start_unfinished_job
from tests.releases.changes import change_every_setting, delete_resource, patch_resource
from tests.releases.work import LOCK_PIPELINE, cause_emails, fill_concurrency_group, run_projects_in_turn
from tests.support.external.repositories import commit_files
from tests.support.external.ssh_keys import generate_public_key
from tests.support.in_process.build_system import PASSWORD, Body, BuildSystem, FakeRunner

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


DEPLOY_KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one\n-----END OPENSSH PRIVATE KEY-----"


SECRET = "s3same-mill-stream"


@dataclass
class Leftovers:
    """Tokens and pending work that the recorded release leaves for the next release."""

    tokens: dict[str, str] = field(default_factory=dict)  # personal access tokens by name
    runners: dict[str, str] = field(default_factory=dict)  # tokens by runner name
    running: Body = field(default_factory=dict)  # a running job: `id`, `token`, and `length`, the bytes of its log
    queued: int = 0  # id of a queued build
    project: int = 0  # id of a project that the next release builds again
    lane: Body = field(default_factory=dict)  # ids of two builds: one `holds` the concurrency slot, one `waits` for it
    mails: int = 0  # id of a project whose builds fail immediately
    locked_out: str = ""  # name of a user with too many failed logins
    unfinished: Body = field(default_factory=dict)  # work pending in durable consumers (unfinished_work.py)
    # last message that an external consumer read from a mirror, by stream
    read: dict[str, Body] = field(default_factory=dict)


async def create_history(system: BuildSystem, folder: Path) -> Leftovers:
    leftovers = Leftovers()
    files = {"headrace.yaml": SPEC, "ci/build.sh": "echo turning with $MILL_KEY\n", "ci/test.sh": "exit 0\n"}
    commit_files(system.repository, {**files, "ci/cleanup.sh": "echo swept\n", "ci/bad.sh": "exit 7\n"})
    commit_files(system.repository, {"broken/headrace.yaml": "steps: 7", "pipeline/.gitlab-ci.yml": PIPELINE})
    bad = SPEC.replace("/ci/test.sh", "/ci/bad.sh")
    commit_files(system.repository, {"bad/headrace.yaml": bad, "lock/.gitlab-ci.yml": LOCK_PIPELINE})
    ada = await create_people(system, leftovers)
    project, company = await configure_projects(system, ada)
    leftovers.project = project["id"]
    worker = await register_runners(system, leftovers, project, company)
    await change_every_setting(system, leftovers.tokens)
    leftovers.locked_out = "gus"
    await run_builds(system, project, worker, folder)
    await run_projects_in_turn(system, project, worker)
    leftovers.lane = await fill_concurrency_group(system)
    leftovers.mails = await cause_emails(system)
    await system.launch_build(project)
    leftovers.running = await start_unfinished_job(system, worker)
    leftovers.queued = await system.launch_build(project)
    await patch_resource(system, f"/api/admin/builds/{leftovers.queued}/priority", build={"priority": 7})
    return leftovers


async def create_people(system: BuildSystem, leftovers: Leftovers) -> int:
    ada = await system.create_user("ada", "ROLE_DEVELOPER", "ROLE_ADMIN")
    for field_, value in (
        ("email", "ada@example.org"),
        ("github_username", "Octo-Ada"),
        ("gitlab_username", "tanuki-ada"),
    ):
        await patch_resource(system, f"/api/admin/developers/{ada}/{field_}", developer={field_: value})
    bob, eve = await system.create_user("bob"), await system.create_user("eve")
    await patch_resource(system, f"/api/admin/developers/{bob}/username", developer={"username": "robert"})
    await patch_resource(system, f"/api/admin/developers/{bob}/enabled", developer={"enabled": False})
    await patch_resource(system, f"/api/admin/developers/{eve}/email", developer={"email": "eve@example.org"})
    await delete_resource(system, f"/api/admin/developers/{eve}")  # destroys the key that encrypts her e-mail address
    for name, title in (("ada", "laptop"), ("ada", "lost one")):
        body = {"publicKey": generate_public_key(), "title": title, "expiresAt": "2099-12-31"}
        response = await system.http.post(f"/api/admin/user/{name}/key/create", headers=system.admin, json=body)
        assert response.status_code == 200, response.text
    lost = response.json()["uuid"]
    await delete_resource(system, f"/api/admin/user/ada/key/delete/{lost}")
    as_ada = await system.log_in("ada")
    for name in ("nightly", "leaked"):
        token: Body = {"name": name, "expires_at": "2099-12-31", "scopes": ["PROJECT_READ", "BUILD_WRITE"]}
        response = await system.http.post("/api/user/tokens", headers=as_ada, json={"token": token})
        assert response.status_code == 201, response.text
        leftovers.tokens[name] = response.json()["value"]
    await system.http.delete(f"/api/user/tokens/{response.json()['id']}", headers=as_ada)
    return ada


async def configure_projects(system: BuildSystem, ada: int) -> tuple[Body, Body]:
    company = await system.create_company(ada, alias="mill")
    await patch_resource(system, f"/api/admin/companies/{company['id']}/title", company={"title": "Mill & Sons"})
    deleted_company = await system.create_company()
    await delete_resource(system, f"/api/admin/companies/{deleted_company['id']}")
    project = await system.create_project(
        "mill", name="Wheel", alias="wheel", description="it turns", keep_number_build=50
    )
    second = await system.create_project("ada", name="Brook", alias="brook", allow_concurrent_execution=False)
    removed = await system.create_project(name="Dry")
    for name, value in (("name", "Mill wheel"), ("protected_branches", ["main", "release/*"])):
        await patch_resource(system, f"/api/admin/projects/{project['id']}/{name}", project={name: value})
    await patch_resource(system, f"/api/admin/projects/{second['id']}/developers", project={"developers_id": [ada]})
    secret = {"name": "MILL_KEY", "value": SECRET, "env": "production", "projects_id": [project["id"]]}
    await system.post("/api/admin/secrets", {"secret": secret}, 201)
    await system.post("/api/admin/secrets", {"secret": {"name": "EVERYWHERE", "value": "global-value-1"}}, 201)
    former = await system.post("/api/admin/secrets", {"secret": {"name": "FORMER", "value": "gone-value-2"}}, 201)
    await delete_resource(system, f"/api/admin/secrets/{former.json()['id']}")
    credential = {"name": "deploy key", "ssh_key": DEPLOY_KEY}
    credential_view = (await system.post("/api/admin/credentials", {"credential": credential}, 201)).json()
    chosen = {"repository_credential_id": credential_view["id"]}
    await patch_resource(system, f"/api/admin/projects/{second['id']}/repository_credential", project=chosen)
    executor = {"name": "millstone", "driver": "localDriver", "variables": {"GRAIN": "rye"}}
    await system.post("/api/admin/executors", {"executor": executor}, 201)
    await delete_resource(system, f"/api/admin/projects/{removed['id']}")
    return project, company


async def register_runners(system: BuildSystem, leftovers: Leftovers, project: Body, company: Body) -> FakeRunner:
    own = "/project/mill/wheel/runners"
    global_runner = await system.register_runner(name="miller", description="builds anything", tag_list="linux,docker")
    company_runner = await system.register_runner(
        "/company/mill/runners", name="journeyman", run_untagged=False, tag_list="heavy"
    )
    project_runner = await system.register_runner(own, name="apprentice", tag_list="light", run_untagged=False)
    deleted = await system.register_runner(name="wanderer", run_untagged=False, tag_list="none")
    edit = {"description": "grinds heavy grain", "tags": ["heavy", "slow"], "maxTimeoutInSec": 7200, "isLocked": True}
    await system.post(f"/api/admin/runners/{company_runner.uuid}/edit", edit)
    await system.post(f"/api/admin/runners/{project_runner.uuid}/shutdown")
    await delete_resource(system, f"/api/admin/runners/{deleted.uuid}")
    await system.post("/api/admin/runners/reset-registration-token")
    leftovers.runners = {
        "miller": global_runner.token,
        "journeyman": company_runner.token,
        "apprentice": project_runner.token,
    }
    assert project["owner_alias"] == company["alias"]
    return global_runner


__all__ = ["PASSWORD", "SECRET", "Leftovers", "create_history"]
