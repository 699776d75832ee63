"""Secrets of projects: visibility, encryption, repository logins and recorded accesses."""

from typing import Any

import pytest
from bson import json_util
from nats.aio.client import Client

from contracts.builds import GetBuild
from contracts.errors import RequestRejected
from contracts.messages import CommandReply
from contracts.projects import (
    ChangeExecutorVariables,
    ChangeRepository,
    ChangeSecretValue,
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    CredentialView,
    DeleteProject,
    DeleteSecret,
    ExecutorView,
    GetExecutor,
    GetJobSecrets,
    GetLaunchSettings,
    GetSecret,
    JobSecrets,
    LaunchSettings,
    ListExecutors,
    ListSecrets,
    ListSecretsPage,
    RenameSecret,
    RevealCredential,
    RevealSecret,
    SecretView,
    SetProjectCredential,
    SetProjectSecrets,
    SetSecretProjects,
)
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient, ReturnMessage
from libs.service.connections import create_mongo_client, get_database
from tests.integration.services.projects.resources.project_queries import (
    get_error_code,
    get_project,
    get_secret,
    send_for_id,
)
from tests.support.in_process.service_stage import ServiceStage
from tests.support.waiting import eventually

CANARY = "canary-5b1f\nsecond line"


async def get_job_secrets(caller: MessageClient, project_id: int) -> dict[str, str]:
    answer = JobSecrets.model_validate_json(await caller.query(GetJobSecrets(project_id=project_id)))
    return {secret.name: secret.value for secret in answer.secrets}


async def find_commits(stage: ServiceStage, condition: dict[str, Any]) -> list[dict[str, Any]]:
    async with create_mongo_client(stage.settings, "test") as client:
        return await get_database(client, stage.settings, "projects")["commits"].find(condition).to_list()


async def test_a_secret_is_visible_only_to_its_projects(caller: MessageClient, new_project: CreateProject) -> None:
    first, second = [await send_for_id(caller, new_project.replace(name=name)) for name in ("Here", "There")]
    everywhere = await send_for_id(caller, CreateSecret(name="SHARED", value="global"))
    also = await send_for_id(caller, CreateSecret(name="ONLY_GLOBAL", value="for all"))
    own = await send_for_id(caller, CreateSecret(name="SHARED", value="own", projects_id=(first,)))
    assert (await get_job_secrets(caller, first)).items() >= {"SHARED": "own", "ONLY_GLOBAL": "for all"}.items()
    assert (await get_job_secrets(caller, second)).items() >= {"SHARED": "global", "ONLY_GLOBAL": "for all"}.items()

    await caller.send(SetProjectSecrets(project_id=second, secrets_id=(own,)))
    assert (await get_secret(caller, own)).projects_id == tuple(sorted((first, second)))
    assert (await get_project(caller, second)).secrets_id == (own,)
    await caller.send(SetProjectSecrets(project_id=second, secrets_id=()))
    assert (await get_secret(caller, own)).projects_id == (first,)
    assert await get_error_code(caller, DeleteSecret(secret_id=own)) == "SECRET_PROJECTS_NOT_EMPTY"

    await caller.send(DeleteProject(project_id=first))
    orphan = await get_secret(caller, own)
    assert (orphan.projects_id, orphan.is_global) == ((), False)
    assert (await get_job_secrets(caller, second))["SHARED"] == "global"
    await caller.send(SetSecretProjects(secret_id=own, projects_id=(second,)))
    assert (await get_job_secrets(caller, second))["SHARED"] == "own"
    await caller.send(SetSecretProjects(secret_id=own, projects_id=()))
    assert (await get_secret(caller, own)).is_global

    for secret_id in (everywhere, also, own):
        await caller.send(DeleteSecret(secret_id=secret_id))
        assert await get_error_code(caller, GetSecret(secret_id=secret_id)) == "SECRET_NOT_FOUND"


async def test_secrets_are_encrypted_in_storage_and_hidden_in_queries(
    stage: ServiceStage, bus: Client, caller: MessageClient, new_project: CreateProject
) -> None:
    project_id = await send_for_id(caller, new_project.replace(name="Sealed"))
    value = await send_for_id(caller, CreateSecret(name="CANARY", value=CANARY, projects_id=(project_id,)))
    await caller.send(ChangeSecretValue(secret_id=value, value=f"{CANARY}-2"))
    key = await send_for_id(caller, CreateCredential(name="canary", ssh_key=f"{CANARY}-key"))
    executor = await send_for_id(caller, CreateExecutor(name="canary", driver="openStackDriver"))
    await caller.send(ChangeExecutorVariables(executor_id=executor, variables={"OS_PASSWORD": f"{CANARY}-variable"}))
    await caller.send(SetProjectCredential(project_id=project_id, credential_id=key))

    secrets = JobSecrets.model_validate_json(await caller.query(GetJobSecrets(project_id=project_id)))
    revealed = await caller.query(GetExecutor(executor_id=executor, reveal=True))
    assert secrets.ssh_key == f"{CANARY}-key"
    assert [job_secret.value for job_secret in secrets.secrets if job_secret.name == "CANARY"] == [f"{CANARY}-2"]
    assert ExecutorView.model_validate_json(revealed).variables == {"OS_PASSWORD": f"{CANARY}-variable"}

    shown = b"".join(
        [
            await caller.query(GetSecret(secret_id=value)),
            await caller.query(ListSecrets()),
            await caller.query(GetExecutor(executor_id=executor)),
            await caller.query(ListExecutors()),
            await caller.query(ListSecretsPage()),
        ]
    )
    async with create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "projects")
        names = await database.list_collection_names()
        stored = json_util.dumps([await database[name].find().to_list() for name in names])
    await eventually(lambda: is_published(bus, f"executor-{executor}"))
    assert "canary-5b1f" not in shown.decode() + stored + await read_published_events(bus)


async def test_a_repository_login_is_encrypted_and_given_only_to_builds_of_its_url(
    stage: ServiceStage, bus: Client, caller: MessageClient, new_project: CreateProject
) -> None:
    address, other = "https://ada:canary%2D77c4@forge.example/login.git", "https://bob:canary-77c4@forge.example/x.git"
    bare = "https://forge.example/login.git"
    project_id = await send_for_id(caller, new_project.replace(name="Login", repository=address))

    async def login(repository: str | None = bare) -> str | None:
        question = GetJobSecrets(project_id=project_id, repository=repository)
        return JobSecrets.model_validate_json(await caller.query(question)).repository_login

    assert (await login(), await login(None), await login("https://evil.example/")) == ("ada:canary-77c4", None, None)
    settings = LaunchSettings.model_validate_json(await caller.query(GetLaunchSettings(project_id=project_id)))
    view = await get_project(caller, project_id, reveal=True)
    assert (settings.repository, view.repository) == (bare, bare)

    changed = await caller.send(ChangeRepository(project_id=project_id, repository=other))
    assert (await login(), await login("https://forge.example/x.git")) == (None, "bob:canary-77c4")
    await caller.send(ChangeRepository(project_id=project_id, repository="https://forge.example/x.git"))
    assert await login("https://forge.example/x.git") is None

    row = CommandReply.model_validate_json(changed).row
    assert row["sealed_login"].startswith("s1.")
    history = json_util.dumps(await find_commits(stage, {"stream": f"project-{project_id}"}))
    assert history.count('"sealed_login": "s1.') == 2
    await eventually(lambda: is_published(bus, f"project-{project_id}"))
    assert "canary" not in history + str(row) + view.model_dump_json()
    assert "canary-77c4" not in await read_published_events(bus)


async def test_setting_a_repository_login_of_an_unknown_project_creates_no_data_key(
    stage: ServiceStage, caller: MessageClient
) -> None:
    command = ChangeRepository(project_id=10**6, repository="https://ada:hush@forge.example/x.git")
    assert await get_error_code(caller, command) == "PROJECT_NOT_FOUND"
    async with create_mongo_client(stage.settings, "test") as client:
        keys = get_database(client, stage.settings, "projects")["data_keys"]
        assert await keys.count_documents({"_id": f"project-{10**6}"}) == 0


async def is_published(bus: Client, stream: str) -> bool:
    return stream in await read_published_events(bus)


async def read_published_events(bus: Client) -> str:
    js = bus.jetstream()
    state = (await js.stream_info("projects")).state
    messages = [await js.get_msg("projects", number) for number in range(state.first_seq, state.last_seq + 1)]
    return "".join(f"{message.subject} {(message.data or b'').decode()}\n" for message in messages)


async def test_each_reading_of_a_secret_is_recorded_with_its_actor(stage: ServiceStage, caller: MessageClient) -> None:
    reader_actor = Actor(17, "olga", ("ROLE_ADMIN",))
    value = await send_for_id(caller, CreateSecret(name="SEEN", value="seen value"))
    key = await send_for_id(caller, CreateCredential(name="seen", ssh_key="seen key"))
    seen = SecretView.model_validate_json(await caller.send(RevealSecret(secret_id=value), actor=reader_actor))
    seen_key = CredentialView.model_validate_json(
        await caller.send(RevealCredential(credential_id=key), actor=reader_actor)
    )
    assert (seen.value, seen_key.ssh_key) == ("seen value", "seen key")
    accesses = await find_commits(stage, {"events.name": {"$in": ["SecretRevealed", "CredentialRevealed"]}})
    assert {access["stream"] for access in accesses if access["actor"] == {"id": 17, "name": ""}} == {
        f"secret-{value}",
        f"credential-{key}",
    }


async def test_a_command_can_return_the_secret_with_its_value(caller: MessageClient, stage: ServiceStage) -> None:
    secret_id = await send_for_id(caller, CreateSecret(name="SHOWN", value=CANARY))
    reveal = ReturnMessage(RevealSecret, "secret_id")
    answer = await caller.send(RenameSecret(secret_id=secret_id, name="RENAMED"), return_message=reveal)
    view = SecretView.model_validate_json(answer)
    assert (view.name, view.value) == ("RENAMED", CANARY)

    commits = await find_commits(stage, {"stream": f"secret-{secret_id}"})
    assert [event["name"] for commit in commits for event in commit["events"]][1:] == [
        "SecretSettingsChanged",
        "SecretRevealed",
    ]


async def test_a_command_with_an_unknown_return_message_changes_nothing(caller: MessageClient) -> None:
    secret_id = await send_for_id(caller, CreateSecret(name="UNCHANGED", value="1"))
    with pytest.raises(RequestRejected) as rejection:
        await caller.send(
            RenameSecret(secret_id=secret_id, name="CHANGED"), return_message=ReturnMessage(GetBuild, "build_id")
        )
    assert rejection.value.code == "REQUEST_INVALID"
    assert (await get_secret(caller, secret_id)).name == "UNCHANGED"
