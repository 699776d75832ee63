"""Changes of every setting that there is: of users, companies, projects, secrets, credentials, executors, runners."""

from typing import Any

from contracts.runners import MarkRunnerOffline
from libs.messaging.request_reply import MessageClient, connect, disconnect
from tests.support.in_process.whole_stage import PASSWORD, Body, BuildSystem

IDEMPOTENCY_HEADERS = {"Idempotency-Key": "the-same-name-once-more"}
FAILED_LOGINS = 11  # one more than are free


async def patch_resource(here: BuildSystem, path: str, **body: Any) -> None:
    answer = await here.http.patch(path, headers=here.admin, json=body)
    assert answer.status_code == 200, answer.text


async def delete_resource(here: BuildSystem, path: str) -> None:
    answer = await here.http.delete(path, headers=here.admin)
    assert answer.status_code in (200, 204), answer.text


async def change_every_setting(here: BuildSystem, tokens: dict[str, str]) -> None:
    cyd = await change_users(here)
    await cause_failed_logins(here)
    weir = await change_companies(here, cyd)
    await change_projects(here, cyd, weir)
    await change_credentials_and_executors(here)
    await change_runners(here)
    used = await here.http.get("/api/developer/projects", headers={"Authorization": f"Bearer {tokens['nightly']}"})
    assert used.status_code == 200, used.text


async def change_users(here: BuildSystem) -> int:
    """The role of an administrator taken back makes another one the anchor."""
    cyd = await here.create_user("cyd", "ROLE_DEVELOPER", "ROLE_ADMIN")
    path = f"/api/admin/developers/{cyd}"
    await patch_resource(here, f"{path}/password", developer={"password": "waterfall-8"})
    await patch_resource(here, f"{path}/password", developer={"password": PASSWORD})
    await patch_resource(here, f"{path}/roles", developer={"roles": ["ROLE_DEVELOPER"]})
    for enabled in (False, True):
        await patch_resource(here, f"{path}/enabled", developer={"enabled": enabled})
    same = {"developer": {"username": "cyd"}}  # nothing to record, and the key is noted
    answer = await here.http.patch(f"{path}/username", headers=here.admin | IDEMPOTENCY_HEADERS, json=same)
    assert answer.status_code == 200, answer.text
    return cyd


async def cause_failed_logins(here: BuildSystem) -> None:
    await here.create_user("gus")
    for number in range(FAILED_LOGINS):
        guess = {"auth": {"username": "gus", "password": f"guess {number}"}}
        answer = await here.http.post("/api/auth/token", json=guess)
    assert answer.status_code == 429, answer.text


async def change_companies(here: BuildSystem, member: int) -> Body:
    weir = await here.create_company(alias="weer")
    await patch_resource(here, f"/api/admin/companies/{weir['id']}/alias", company={"alias": "weir"})
    await patch_resource(here, f"/api/admin/companies/{weir['id']}/members", company={"members_id": [member]})
    return weir


async def change_projects(here: BuildSystem, developer: int, company: Body) -> None:
    project = await here.create_project(name="Pond", alias="pond")
    path = f"/api/admin/projects/{project['id']}"
    for name, value in (
        ("description", "still water"),
        ("repository", "ssh://git@forge.example/pond.git"),
        ("branch", "develop"),
        ("keep_number_build", 7),
        ("allow_concurrent_execution", False),
        ("owner_alias", "weir"),
        ("alias", "mill-pond"),
    ):
        await patch_resource(here, f"{path}/{name}", project={name: value})
    await here.http.patch(f"{path}/signature_key", headers=here.admin, json={})
    await patch_resource(
        here, f"/api/admin/developers/{developer}/projects", developer={"projects_id": [project["id"]]}
    )
    secret = (await here.post("/api/admin/secrets", {"secret": {"name": "POND", "value": "made-up-3"}}, 201)).json()
    chosen = {"secrets_id": [secret["id"]]}
    await patch_resource(here, f"{path}/secrets", project=chosen)
    await patch_resource(here, f"{path}/secrets", project={"secrets_id": []})
    await patch_resource(here, f"{path}/secrets", project=chosen)
    path = f"/api/admin/secrets/{secret['id']}"
    for name, value in (("name", "POND_KEY"), ("value", "made-up-4"), ("env", "staging"), ("escape_char", "$")):
        await patch_resource(here, f"{path}/{name}", secret={name: value})
    await patch_resource(here, f"{path}/projects", secret={"projects_id": [project["id"]]})
    await patch_resource(here, f"{path}/projects", secret={"projects_id": []})


async def change_credentials_and_executors(here: BuildSystem) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one, number {}\n-----END OPENSSH PRIVATE KEY-----"
    made = []
    for number in (1, 2):
        body = {"credential": {"name": f"key {number}", "ssh_key": key.format(number)}}
        made.append((await here.post("/api/admin/credentials", body, 201)).json()["id"])
    await patch_resource(here, f"/api/admin/credentials/{made[0]}/name", credential={"name": "pond key"})
    await patch_resource(here, f"/api/admin/credentials/{made[0]}/ssh_key", credential={"ssh_key": key.format(3)})
    await delete_resource(here, f"/api/admin/credentials/{made[1]}")
    made = []
    for name in ("sluice", "gate"):
        executor: Body = {"name": name, "driver": "localDriver", "variables": {}}
        made.append((await here.post("/api/admin/executors", {"executor": executor}, 201)).json()["id"])
    await patch_resource(here, f"/api/admin/executors/{made[0]}/name", executor={"name": "sluice gate"})
    await patch_resource(here, f"/api/admin/executors/{made[0]}/variables", executor={"variables": {"LEVEL": "low"}})
    project = await here.create_project(name="Sluice", alias="sluice")
    await patch_resource(here, f"/api/admin/projects/{project['id']}/executor", project={"executor_id": made[0]})
    await delete_resource(here, f"/api/admin/executors/{made[1]}")


async def change_runners(here: BuildSystem) -> None:
    """One that says more of itself, has another token, and then is silent, as the leader would find it."""
    sexton = await here.register_runner(name="sexton", run_untagged=False, tag_list="bell")
    info = {"name": "gitlab-runner", "version": "18.0.0", "platform": "linux", "architecture": "amd64"}
    asked = {"token": sexton.token, "info": info}
    answer = await here.http.post("/api/v4/jobs/request", json=asked)
    assert answer.status_code == 204, answer.text
    answer = await here.http.post("/api/v4/runners/reset_authentication_token", json={"token": sexton.token})
    assert answer.status_code == 201, answer.text
    bus = await connect(here.settings, "record")
    await MessageClient(bus).send(MarkRunnerOffline(runner_uuid=sexton.uuid))
    await disconnect(bus)
