"""Changes of users, companies, projects, secrets, credentials, executors and runners."""

from typing import Any

from services.runners.domain.internal_commands import MarkRunnerOffline
from tests.support.in_process.build_system import PASSWORD, Body, BuildSystem
from tests.support.in_process.internal_commands import issue_command

IDEMPOTENCY_HEADERS = {"Idempotency-Key": "the-same-name-once-more"}
FAILED_LOGINS = 11  # one more than are allowed without a wait


async def patch_resource(system: BuildSystem, path: str, **body: Any) -> None:
    response = await system.http.patch(path, headers=system.admin, json=body)
    assert response.status_code == 200, response.text


async def delete_resource(system: BuildSystem, path: str) -> None:
    response = await system.http.delete(path, headers=system.admin)
    assert response.status_code in (200, 204), response.text


async def change_every_setting(system: BuildSystem, tokens: dict[str, str]) -> None:
    cyd = await change_users(system)
    await cause_failed_logins(system)
    weir = await change_companies(system, cyd)
    await change_projects(system, cyd, weir)
    await change_credentials_and_executors(system)
    await change_runners(system)
    used = await system.http.get("/api/developer/projects", headers={"Authorization": f"Bearer {tokens['nightly']}"})
    assert used.status_code == 200, used.text


async def change_users(system: BuildSystem) -> int:
    """Change the password, roles and status of an administrator, who becomes a developer. Return the user's id."""
    cyd = await system.create_user("cyd", "ROLE_DEVELOPER", "ROLE_ADMIN")
    path = f"/api/admin/developers/{cyd}"
    await patch_resource(system, f"{path}/password", developer={"password": "waterfall-8"})
    await patch_resource(system, f"{path}/password", developer={"password": PASSWORD})
    await patch_resource(system, f"{path}/roles", developer={"roles": ["ROLE_DEVELOPER"]})
    for enabled in (False, True):
        await patch_resource(system, f"{path}/enabled", developer={"enabled": enabled})
    same = {"developer": {"username": "cyd"}}  # no change: stores an idempotency key, records no event
    response = await system.http.patch(f"{path}/username", headers=system.admin | IDEMPOTENCY_HEADERS, json=same)
    assert response.status_code == 200, response.text
    return cyd


async def cause_failed_logins(system: BuildSystem) -> None:
    await system.create_user("gus")
    for number in range(FAILED_LOGINS):
        guess = {"auth": {"username": "gus", "password": f"guess {number}"}}
        response = await system.http.post("/api/auth/token", json=guess)
    assert response.status_code == 429, response.text


async def change_companies(system: BuildSystem, member: int) -> Body:
    weir = await system.create_company(alias="weer")
    await patch_resource(system, f"/api/admin/companies/{weir['id']}/alias", company={"alias": "weir"})
    await patch_resource(system, f"/api/admin/companies/{weir['id']}/members", company={"members_id": [member]})
    return weir


async def change_projects(system: BuildSystem, developer: int, company: Body) -> None:
    project = await system.create_project(name="Pond", alias="pond")
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
        await patch_resource(system, f"{path}/{name}", project={name: value})
    await system.http.patch(f"{path}/signature_key", headers=system.admin, json={})
    await patch_resource(
        system, f"/api/admin/developers/{developer}/projects", developer={"projects_id": [project["id"]]}
    )
    secret = (await system.post("/api/admin/secrets", {"secret": {"name": "POND", "value": "made-up-3"}}, 201)).json()
    chosen = {"secrets_id": [secret["id"]]}
    await patch_resource(system, f"{path}/secrets", project=chosen)
    await patch_resource(system, f"{path}/secrets", project={"secrets_id": []})
    await patch_resource(system, f"{path}/secrets", project=chosen)
    path = f"/api/admin/secrets/{secret['id']}"
    for name, value in (("name", "POND_KEY"), ("value", "made-up-4"), ("env", "staging"), ("escape_char", "$")):
        await patch_resource(system, f"{path}/{name}", secret={name: value})
    await patch_resource(system, f"{path}/projects", secret={"projects_id": [project["id"]]})
    await patch_resource(system, f"{path}/projects", secret={"projects_id": []})


async def change_credentials_and_executors(system: BuildSystem) -> None:
    key = "-----BEGIN OPENSSH PRIVATE KEY-----\nnot a real one, number {}\n-----END OPENSSH PRIVATE KEY-----"
    created_ids = []
    for number in (1, 2):
        body = {"credential": {"name": f"key {number}", "ssh_key": key.format(number)}}
        created_ids.append((await system.post("/api/admin/credentials", body, 201)).json()["id"])
    await patch_resource(system, f"/api/admin/credentials/{created_ids[0]}/name", credential={"name": "pond key"})
    await patch_resource(
        system, f"/api/admin/credentials/{created_ids[0]}/ssh_key", credential={"ssh_key": key.format(3)}
    )
    await delete_resource(system, f"/api/admin/credentials/{created_ids[1]}")
    created_ids = []
    for name in ("sluice", "gate"):
        executor: Body = {"name": name, "driver": "localDriver", "variables": {}}
        created_ids.append((await system.post("/api/admin/executors", {"executor": executor}, 201)).json()["id"])
    await patch_resource(system, f"/api/admin/executors/{created_ids[0]}/name", executor={"name": "sluice gate"})
    await patch_resource(
        system, f"/api/admin/executors/{created_ids[0]}/variables", executor={"variables": {"LEVEL": "low"}}
    )
    project = await system.create_project(name="Sluice", alias="sluice")
    await patch_resource(
        system, f"/api/admin/projects/{project['id']}/executor", project={"executor_id": created_ids[0]}
    )
    await delete_resource(system, f"/api/admin/executors/{created_ids[1]}")


async def change_runners(system: BuildSystem) -> None:
    sexton = await system.register_runner(name="sexton", run_untagged=False, tag_list="bell")
    info = {"name": "gitlab-runner", "version": "18.0.0", "platform": "linux", "architecture": "amd64"}
    job_request = {"token": sexton.token, "info": info}
    response = await system.http.post("/api/v4/jobs/request", json=job_request)
    assert response.status_code == 204, response.text
    response = await system.http.post("/api/v4/runners/reset_authentication_token", json={"token": sexton.token})
    assert response.status_code == 201, response.text
    await issue_command(system.settings, MarkRunnerOffline(runner_uuid=sexton.uuid))
