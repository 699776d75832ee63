"""Projects: creation, validation, aliases and deletion."""

import asyncio
from typing import Any

import pytest

from contracts.identity import GetUser, RegisterUser, UserView
from contracts.messages import Command, Page, Query
from contracts.projects import (
    ChangeExecutorVariables,
    ChangeRepository,
    ChangeSecretValue,
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    DeleteCredential,
    DeleteExecutor,
    DeleteProject,
    GetJobSecrets,
    GetLaunchSettings,
    GetProject,
    GetProjectByAlias,
    GetSecret,
    LastBuild,
    LaunchSettings,
    ListExecutors,
    ListProjects,
    MoveProject,
    ProjectView,
    RenewSignatureKey,
    RevealCredential,
    RevealSecret,
    SetProjectSecrets,
)
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, get_database
from tests.integration.services.projects.resources.project_queries import (
    ROOT,
    get_error_code,
    get_project,
    get_secret,
    send_for_id,
)
from tests.support.in_process.service_stage import ServiceStage
from tests.support.waiting import eventually


async def test_two_replicas_create_one_default_executor(caller: MessageClient) -> None:
    executors = Page.model_validate_json(await caller.query(ListExecutors())).rows
    assert [(executor["name"], executor["driver"], executor["variables"]) for executor in executors][:1] == [
        ("default", "localDriver", {})
    ]
    assert len([executor for executor in executors if executor["name"] == "default"]) == 1


async def test_a_project_is_created_with_all_fields(caller: MessageClient, new_project: CreateProject) -> None:
    developer = await send_for_id(caller, RegisterUser(username="dev-whole", password="millwheel-7"))
    key = await send_for_id(caller, CreateCredential(name="deploy", ssh_key="KEY"))
    token = await send_for_id(caller, CreateSecret(name="TOKEN", value="v", projects_id=()))
    command = new_project.replace(
        name="Whole Shop",
        description="all of it",
        keep_number_build=5,
        credential_id=key,
        developers_id=(developer,),
        secrets_id=(token,),
        owner_alias="DEV-WHOLE",
    )
    project_id = await send_for_id(caller, command)
    view = await get_project(caller, project_id, reveal=True)
    assert view.signature_key is not None
    assert len(bytes.fromhex(view.signature_key)) == 16
    assert view == ProjectView(
        id=project_id,
        name="Whole Shop",
        description="all of it",
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        keep_number_build=5,
        allow_concurrent_execution=True,
        signature_key=view.signature_key,
        available_steps=(),
        credential_id=key,
        secrets_id=(token,),
        builds_id=(),
        developers_id=(developer,),
        executor_id=new_project.executor_id,
        last_build=LastBuild(),
        owner_alias="dev-whole",
        owner_user_id=developer,
        alias="whole-shop",
        protected_branches=("main",),
        created_at=view.created_at,
    )
    assert (await get_project(caller, project_id)).signature_key is None
    assert (await get_secret(caller, token)).projects_id == (project_id,)
    found = await caller.query(GetProjectByAlias(owner_alias="Dev-Whole", alias="Whole-Shop"))
    assert ProjectView.model_validate_json(found).id == project_id
    everything = Page.model_validate_json(await caller.query(ListProjects())).rows
    assert (await get_project(caller, project_id)).model_dump(mode="json") in everything
    settings = LaunchSettings.model_validate_json(await caller.query(GetLaunchSettings(project_id=project_id)))
    assert (settings.project_id, settings.owner_alias, settings.credential_id) == (project_id, "dev-whole", key)
    await eventually(lambda: has_project(caller, developer, project_id))


async def has_project(caller: MessageClient, user_id: int, project_id: int) -> bool:
    user = UserView.model_validate_json(await caller.query(GetUser(user_id=user_id)))
    return user.projects_id == (project_id,)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": None}, "PROJECT_NAME_REQUIRED"),
        ({"repository": "ext::sh -c id"}, "PROJECT_REPOSITORY_INVALID"),
        ({"repository": "/srv/git/shop"}, "PROJECT_REPOSITORY_INVALID"),
        ({"executor_id": None}, "EXECUTOR_NOT_FOUND"),
        ({"executor_id": 10**30, "credential_id": 10**30}, "EXECUTOR_NOT_FOUND"),
        ({"credential_id": 10**30, "developers_id": (10**30,)}, "CREDENTIAL_NOT_FOUND"),
        ({"developers_id": (10**30,), "secrets_id": (10**30,)}, "DEVELOPER_NOT_FOUND"),
        ({"secrets_id": (10**30,), "owner_alias": "unknown-owner"}, "SECRET_NOT_FOUND"),
        ({"owner_alias": "unknown-owner"}, "PROJECT_OWNER_INVALID"),
        ({"alias": "a b"}, "PROJECT_ALIAS_INVALID"),
        ({"keep_number_build": -1}, "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
        ({"keep_number_artifact": -1}, "PROJECT_RETENTION_INVALID"),
    ],
)
async def test_an_invalid_project_is_rejected(
    caller: MessageClient, new_project: CreateProject, changes: dict[str, Any], code: str
) -> None:
    assert await get_error_code(caller, new_project.replace(**{"name": "Misfit", **changes})) == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (GetProject(project_id=10**30), "PROJECT_NOT_FOUND"),
        (GetLaunchSettings(project_id=0), "PROJECT_NOT_FOUND"),
        (GetJobSecrets(project_id=0), "PROJECT_NOT_FOUND"),
        (DeleteProject(project_id=0), "PROJECT_NOT_FOUND"),
        (RenewSignatureKey(project_id=0), "PROJECT_NOT_FOUND"),
        (SetProjectSecrets(project_id=0, secrets_id=()), "PROJECT_NOT_FOUND"),
        (ChangeRepository(project_id=0, repository="file:///x"), "PROJECT_REPOSITORY_INVALID"),
        (GetSecret(secret_id=0), "SECRET_NOT_FOUND"),
        (RevealSecret(secret_id=0), "SECRET_NOT_FOUND"),
        (ChangeSecretValue(secret_id=0, value="x"), "SECRET_NOT_FOUND"),
        (CreateSecret(name="A B", value=""), "SECRET_NAME_INVALID"),
        (CreateSecret(name="A", value=" "), "SECRET_VALUE_REQUIRED"),
        (CreateSecret(name="A", value="a\0b"), "REQUEST_INVALID"),
        (CreateSecret(name="A", value="x", projects_id=(0,)), "PROJECT_NOT_FOUND"),
        (CreateCredential(ssh_key="x"), "CREDENTIAL_NAME_REQUIRED"),
        (CreateCredential(name="x", ssh_key=" "), "CREDENTIAL_SSH_KEY_REQUIRED"),
        (RevealCredential(credential_id=0), "CREDENTIAL_NOT_FOUND"),
        (CreateExecutor(name="x", driver="y"), "EXECUTOR_DRIVER_INVALID"),
        (ChangeExecutorVariables(executor_id=0), "EXECUTOR_NOT_FOUND"),
    ],
)
async def test_invalid_input_is_rejected_with_its_error_code(
    caller: MessageClient, message: Command | Query, code: str
) -> None:
    assert await get_error_code(caller, message) == code


async def test_projects_created_concurrently_with_one_name_get_different_aliases(
    caller: MessageClient, new_project: CreateProject
) -> None:
    creations = (send_for_id(caller, new_project.replace(name="Twin", owner_alias="root")) for _ in range(6))
    ids = await asyncio.gather(*creations)
    aliases = {(await get_project(caller, project_id)).alias for project_id in ids}
    assert aliases == {"twin", "twin-2", "twin-3", "twin-4", "twin-5", "twin-6"}
    taken = new_project.replace(name="Other", owner_alias="root", alias="TWIN-3")
    assert await get_error_code(caller, taken) == "PROJECT_ALIAS_TAKEN"


async def test_a_repeated_create_command_creates_one_project(caller: MessageClient, new_project: CreateProject) -> None:
    command = new_project.replace(name="Once")
    first = await caller.send(command, command_id="7d0d4e52-create-once", actor=ROOT)
    assert await caller.send(command, command_id="7d0d4e52-create-once", actor=ROOT) == first


async def test_a_project_takes_an_alias_released_by_a_deleted_project(
    caller: MessageClient, new_project: CreateProject
) -> None:
    first = await send_for_id(caller, new_project.replace(name="Mover"))
    second = await send_for_id(caller, new_project.replace(name="Mover"))
    command = MoveProject(project_id=second, alias="mover")
    assert await get_error_code(caller, command) == "PROJECT_ALIAS_TAKEN"
    await caller.send(DeleteProject(project_id=first))
    await caller.send(command)
    assert (await get_project(caller, second)).alias == "mover"


async def test_credentials_and_executors_used_by_a_project_cannot_be_deleted(
    caller: MessageClient, new_project: CreateProject
) -> None:
    key = await send_for_id(caller, CreateCredential(name="used", ssh_key="x"))
    executor = await send_for_id(caller, CreateExecutor(name="used", driver="localDriver"))
    user = await send_for_id(caller, new_project.replace(name="User", executor_id=executor, credential_id=key))
    assert await get_error_code(caller, DeleteCredential(credential_id=key)) == "CREDENTIAL_IN_USE"
    assert await get_error_code(caller, DeleteExecutor(executor_id=executor)) == "EXECUTOR_IN_USE"
    await caller.send(DeleteProject(project_id=user))
    await caller.send(DeleteCredential(credential_id=key))
    await caller.send(DeleteExecutor(executor_id=executor))


async def test_deleting_a_project_shreds_its_data_key(
    stage: ServiceStage, caller: MessageClient, new_project: CreateProject
) -> None:
    project_id = await send_for_id(caller, new_project.replace(name="Erased"))
    await caller.send(DeleteProject(project_id=project_id))
    async with create_mongo_client(stage.settings, "test") as client:
        keys = get_database(client, stage.settings, "projects")["data_keys"]

        async def is_erased() -> bool:
            return await keys.find_one({"_id": f"project-{project_id}"}) is None

        await eventually(is_erased)
