"""The projects service with two replicas, and identity: aliases, secrets, and reactions to other services."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import json_util
from nats.aio.client import Client

from contracts.builds import BuildDeleted, BuildFinished, BuildPlanned, BuildStatus, LaunchedProject
from contracts.errors import RequestRejected
from contracts.identity import DeleteUser, GetUser, RegisterUser, RenameUser, UserView
from contracts.messages import Command, CommandReply, Event, Page, Query
from contracts.paging import Filter
from contracts.projects import (
    ChangeExecutorVariables,
    ChangeRepository,
    ChangeSecretValue,
    CreateCredential,
    CreateExecutor,
    CreateProject,
    CreateSecret,
    CredentialView,
    DeleteCredential,
    DeleteExecutor,
    DeleteProject,
    DeleteSecret,
    Executors,
    ExecutorView,
    GetExecutor,
    GetJobSecrets,
    GetLaunchSettings,
    GetProject,
    GetProjectByAlias,
    GetSecret,
    JobSecrets,
    LastBuild,
    LaunchSettings,
    ListExecutors,
    ListProjects,
    ListProjectsPage,
    ListSecrets,
    ListSecretsPage,
    MoveProject,
    Projects,
    ProjectView,
    RenewSignatureKey,
    RevealCredential,
    RevealSecret,
    SecretView,
    SetDeveloperProjects,
    SetProjectCredential,
    SetProjectDevelopers,
    SetProjectSecrets,
    SetSecretProjects,
)
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from libs.eventstore.mongo import MongoEventStore
from libs.eventstore.repository import CommandHandler
from libs.messaging import cloudevents
from libs.messaging.request_reply import MessageClient
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from services.projects.projections import membership_category
from tests.support.in_process.stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

CANARY = "canary-5b1f\nsecond line"
QUEUED_AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
ROOT = Actor(1, "root", ("ROLE_ADMIN",))


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, admin_username="root", admin_password="millwheel-7") as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity), stage.running(lambda: projects, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def bus(stage: ServiceStage) -> AsyncIterator[Client]:
    async with stage.connected() as bus:
        yield bus


@pytest.fixture(scope="module")
async def caller(bus: Client) -> MessageClient:
    return MessageClient(bus)


@pytest.fixture(scope="module")
async def new_project(caller: MessageClient) -> CreateProject:
    """Return a command that creates a project; it lacks only the name."""
    (default,) = Executors.model_validate_json(await caller.query(ListExecutors())).executors
    return CreateProject(
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        allow_concurrent_execution=True,
        executor_id=default.id,
    )


async def send_for_id(caller: MessageClient, command: Command) -> int:
    return int(CommandReply.model_validate_json(await caller.send(command, actor=ROOT)).row["id"])


async def get_error_code(caller: MessageClient, message: Command | Query) -> str:
    with pytest.raises(RequestRejected) as refused:
        await (caller.send(message) if isinstance(message, Command) else caller.query(message))
    return refused.value.code


async def get_project(caller: MessageClient, project_id: int, *, reveal: bool = False) -> ProjectView:
    return ProjectView.model_validate_json(await caller.query(GetProject(project_id=project_id, reveal=reveal)))


async def get_secret(caller: MessageClient, secret_id: int) -> SecretView:
    return SecretView.model_validate_json(await caller.query(GetSecret(secret_id=secret_id)))


async def get_job_secrets(caller: MessageClient, project_id: int) -> dict[str, str]:
    answer = JobSecrets.model_validate_json(await caller.query(GetJobSecrets(project_id=project_id)))
    return {secret.name: secret.value for secret in answer.secrets}


async def find_commits(stage: ServiceStage, condition: dict[str, Any]) -> list[dict[str, Any]]:
    async with create_mongo_client(stage.settings, "test") as client:
        return await get_database(client, stage.settings, "projects")["commits"].find(condition).to_list()


async def test_two_replicas_create_one_default_executor(caller: MessageClient) -> None:
    executors = Executors.model_validate_json(await caller.query(ListExecutors())).executors
    assert [(executor.name, executor.driver, executor.variables) for executor in executors][:1] == [
        ("default", "localDriver", {})
    ]
    assert len([executor for executor in executors if executor.name == "default"]) == 1


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
    everything = Projects.model_validate_json(await caller.query(ListProjects())).projects
    assert (await get_project(caller, project_id)) in everything
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
    looker = Actor(17, "olga", ("ROLE_ADMIN",))
    value = await send_for_id(caller, CreateSecret(name="SEEN", value="seen value"))
    key = await send_for_id(caller, CreateCredential(name="seen", ssh_key="seen key"))
    seen = SecretView.model_validate_json(await caller.send(RevealSecret(secret_id=value), actor=looker))
    seen_key = CredentialView.model_validate_json(await caller.send(RevealCredential(credential_id=key), actor=looker))
    assert (seen.value, seen_key.ssh_key) == ("seen value", "seen key")
    accesses = await find_commits(stage, {"events.name": {"$in": ["SecretRevealed", "CredentialRevealed"]}})
    assert {access["stream"] for access in accesses if access["actor"]["name"] == "olga"} == {
        f"secret-{value}",
        f"credential-{key}",
    }


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

        async def erased() -> bool:
            return await keys.find_one({"_id": f"project-{project_id}"}) is None

        await eventually(erased)


async def test_projects_follow_renamed_and_deleted_users(caller: MessageClient, new_project: CreateProject) -> None:
    owner = await send_for_id(caller, RegisterUser(username="follow-1", password="millwheel-7"))
    other = await send_for_id(caller, RegisterUser(username="follow-x", password="millwheel-7"))
    project_id = await send_for_id(caller, new_project.replace(name="Followed", owner_alias="follow-1"))
    await caller.send(SetProjectDevelopers(project_id=project_id, developers_id=(owner, other)))
    await caller.send(RenameUser(user_id=owner, username="follow-2"))
    await caller.send(RenameUser(user_id=owner, username="follow-3"))
    await caller.send(DeleteUser(user_id=other))

    async def followed() -> bool:
        view = await get_project(caller, project_id)
        return (view.owner_alias, view.developers_id) == ("follow-3", (owner,))

    await eventually(followed)


async def test_a_command_whose_reactions_were_lost_is_completed_by_the_subscription(
    stage: ServiceStage, caller: MessageClient, new_project: CreateProject
) -> None:
    developer = await send_for_id(caller, RegisterUser(username="batch-member", password="millwheel-7"))
    joined = await send_for_id(caller, new_project.replace(name="Joined"))
    left = await send_for_id(caller, new_project.replace(name="Left", developers_id=(developer,)))
    command = SetDeveloperProjects(developer_id=developer, projects_id=(joined,), joined=(joined,), left=(left,))
    async with create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "projects")
        store = MongoEventStore(database, create_vault(database, stage.settings))
        await CommandHandler(store).handle(
            membership_category, command, CommandMetadata("a command without reactions", QUEUED_AT)
        )
        await store.drain()

    async def fulfilled() -> bool:
        members = [(await get_project(caller, project_id)).developers_id for project_id in (joined, left)]
        return members == [(developer,), ()]

    await eventually(fulfilled)


LAUNCHED_PROJECT = LaunchedProject(
    project_id=0, name="", owner_alias="", alias="", repository="", branch="main", spec_file_path="/spec.yaml"
)


async def publish_build_event(bus: Client, number: int, event: Event) -> None:
    recorded = RecordedEvent(
        f"build-{number}", 1, 0, event, CommandMetadata(f"{number}-{type(event).__name__}", QUEUED_AT)
    )
    await bus.jetstream().publish(
        cloudevents.event_subject("builds", recorded),
        cloudevents.to_body(recorded),
        headers=cloudevents.to_headers("builds", recorded),
    )


async def test_projects_show_and_can_be_filtered_by_their_last_build(
    bus: Client, caller: MessageClient, new_project: CreateProject
) -> None:
    good, bad, never = [
        await send_for_id(caller, new_project.replace(name=f"Listed {name}")) for name in ("good", "Bad", "never")
    ]
    planned = BuildPlanned(
        build_id=1,
        project_id=good,
        project=LAUNCHED_PROJECT,
        sha="s",
        ref="main",
        available_steps=("@a", "@cleanup"),
        jobs=(),
    )
    finished = BuildFinished(
        build_id=1,
        executor_id="e",
        project_id=good,
        project_name="Listed good",
        status=BuildStatus.SUCCESS,
        exit_code=0,
        queued_at=QUEUED_AT,
    )
    failed = {"build_id": 2, "project_id": bad, "exit_code": 1000, "exit_message": "Spec file not found"}
    await publish_build_event(bus, 1, planned)
    await publish_build_event(bus, 1, finished)
    await publish_build_event(bus, 2, finished.replace(**failed, queued_at=QUEUED_AT + timedelta(hours=1)))

    async def shown() -> bool:
        return (await get_project(caller, bad)).builds_id == (2,)

    await eventually(shown)
    view = await get_project(caller, good)
    assert (view.available_steps, view.builds_id) == (("@a", "@cleanup"), (1,))
    assert view.last_build == LastBuild(exit_code=0, exit_message=None, created_at=QUEUED_AT)

    async def listed(*filters: Filter, **order: Any) -> list[int]:
        name_filter = Filter(column="project_name", operator="startwith", values=("LISTED ",))
        page = Page.model_validate_json(await caller.query(ListProjectsPage(filters=(*filters, name_filter), **order)))
        return [row["project_id"] for row in page.rows]

    async def by(column: str, operator: Any, *values: str) -> set[int]:
        return set(await listed(Filter(column=column, operator=operator, values=values)))

    code, message, at = "build_last_exit_code", "build_last_exit_message", "build_last_created_at"
    assert await by(code, "eq", "0") == {good}
    assert await by(code, "sup", "0") == {bad}
    assert await by(code, "eq", "null") == {never}
    assert await by(code, "eq", "null", "0") == {never, good}
    assert await by(code, "ne", "null") == {good, bad}
    assert await by(code, "ne", "0") == {bad}
    assert await by(code, "eq", "zero") == set()
    assert await by(message, "contains", "NOT found") == {bad}
    assert await by(message, "eq", "null") == {good, never}
    assert await by(at, "supeq", "2026-11-22T11:15:00Z") == {bad}
    assert await by("project_name", "endwith", "ER", "bad") == {never, bad}
    assert await by("project_name", "necontains", "bad") == {good, never}
    assert await by("project_id", "eq", str(good), "x", "9" * 40) == {good}
    assert await by("project_name", "contains", ".*", "\0", "(") == set()
    assert await by("unknown", "eq", "1") == {good, bad, never}
    assert await listed(sort_by=code, descending=True) == [bad, good, never]
    assert await listed(sort_by=at, descending=False, per_page=2) == [never, good]
    assert await listed(sort_by=at, descending=False, per_page=2, page=2) == [bad]
    assert await listed(sort_by="project_id", page=10**12) == []
    whole = await caller.query(ListProjectsPage(filters=(Filter(column="id", operator="eq", values=(str(bad),)),)))
    assert Page.model_validate_json(whole) == Page(
        rows=(
            {
                "project_id": bad,
                "project_name": "Listed Bad",
                "build_last_exit_code": 1000,
                "build_last_exit_message": "Spec file not found",
                "build_last_created_at": "2026-11-22T11:15:00Z",
            },
        ),
        total=1,
    )


async def test_a_deleted_build_is_no_longer_the_last_build_of_its_project(
    bus: Client, caller: MessageClient, new_project: CreateProject
) -> None:
    project_id = await send_for_id(caller, new_project.replace(name="Tidy"))

    def ended(build_id: int) -> BuildFinished:
        return BuildFinished(
            build_id=build_id,
            executor_id="e",
            project_id=project_id,
            project_name="Tidy",
            status=BuildStatus.FAILED,
            exit_code=build_id,
            queued_at=QUEUED_AT,
        )

    async def follows(builds_id: tuple[int, ...], exit_code: int | None) -> None:
        async def shown() -> bool:
            view = await get_project(caller, project_id)
            return (view.builds_id, view.last_build.exit_code) == (builds_id, exit_code)

        await eventually(shown)

    await publish_build_event(bus, 23, ended(23))  # ends before builds that were queued earlier
    await publish_build_event(bus, 21, ended(21))
    await publish_build_event(bus, 22, ended(22))
    await follows((21, 22, 23), 23)
    await publish_build_event(bus, 23, BuildDeleted(build_id=23, project_id=project_id))
    await follows((21, 22), 22)
    await publish_build_event(bus, 21, BuildDeleted(build_id=21, project_id=project_id))
    await follows((22,), 22)
    await publish_build_event(bus, 22, BuildDeleted(build_id=22, project_id=project_id))
    await follows((), None)


async def test_build_ids_of_a_project_are_limited_to_the_newest_builds(
    bus: Client, caller: MessageClient, new_project: CreateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.projects.build_activity.MAX_BUILD_IDS", 2)
    monkeypatch.setattr("services.projects.build_activity.MAX_BUILD_IDS_IN_LIST", 1)
    project_id = await send_for_id(caller, new_project.replace(name="Busy"))
    for build_id in (31, 33, 32):
        finished = BuildFinished(
            build_id=build_id,
            executor_id="e",
            project_id=project_id,
            project_name="Busy",
            status=BuildStatus.SUCCESS,
            exit_code=0,
            queued_at=QUEUED_AT,
        )
        await publish_build_event(bus, build_id, finished)

    async def are_the_newest() -> bool:
        return (await get_project(caller, project_id)).builds_id == (32, 33)

    await eventually(are_the_newest)
    listed = Projects.model_validate_json(await caller.query(ListProjects()))
    assert {listed_project.id: listed_project.builds_id for listed_project in listed.projects}[project_id] == (33,)
