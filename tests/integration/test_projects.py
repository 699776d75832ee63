"""Projects on real servers, with two replicas and identity beside them: addresses, secrets, what follows from what."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import json_util
from nats.aio.client import Client

from contracts.builds import BuildDeleted, BuildFinished, BuildPlanned, BuildStatus, LaunchedProject
from contracts.errors import Refused
from contracts.identity import DeleteUser, GetUser, RegisterUser, RenameUser, UserView
from contracts.messages import Command, Done, Event, Page, Query
from contracts.paging import Filter
from contracts.projects import (
    ChangeExecutorVariables,
    ChangeRepository,
    ChangeSecretValue,
    ChooseCredential,
    ChooseDeveloperProjects,
    ChooseDevelopers,
    ChooseSecretProjects,
    ChooseSecrets,
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
    FindProject,
    GetExecutor,
    GetJobSecrets,
    GetLaunchSettings,
    GetProject,
    GetSecret,
    JobSecrets,
    LastBuild,
    LaunchSettings,
    ListExecutors,
    ListProjects,
    ListSecrets,
    MoveProject,
    PageProjects,
    PageSecrets,
    Projects,
    ProjectView,
    RenewSignatureKey,
    RevealCredential,
    RevealSecret,
    SecretView,
)
from libs import cloudevents
from libs.connections import database_of, mongo, vault_of
from libs.deciding import Actor, Cause, Recorded
from libs.eventstore.mongo import MongoStore
from libs.eventstore.streams import Streams
from libs.messaging import Caller
from libs.service import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from services.projects.views import membership_category
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

CANARY = "canary-5b1f\nsecond line"
QUEUED_AT = datetime(2026, 11, 22, 10, 15, tzinfo=UTC)
ROOT = Actor(1, "root", ("ROLE_ADMIN",))


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers, admin_username="root", admin_password="millwheel-7") as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity), stage.running(lambda: projects, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def bus(stage: Stage) -> AsyncIterator[Client]:
    async with stage.connected() as bus:
        yield bus


@pytest.fixture(scope="module")
async def caller(bus: Client) -> Caller:
    return Caller(bus)


@pytest.fixture(scope="module")
async def shop(caller: Caller) -> CreateProject:
    """A project that only wants a name."""
    (default,) = Executors.model_validate_json(await caller.ask(ListExecutors())).executors
    return CreateProject(
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        allow_concurrent_execution=True,
        executor_id=default.id,
    )


async def done(caller: Caller, command: Command) -> int:
    return int(Done.model_validate_json(await caller.tell(command, actor=ROOT)).row["id"])


async def code_of(caller: Caller, message: Command | Query) -> str:
    with pytest.raises(Refused) as refused:
        await (caller.tell(message) if isinstance(message, Command) else caller.ask(message))
    return refused.value.code


async def project(caller: Caller, project_id: int, *, reveal: bool = False) -> ProjectView:
    return ProjectView.model_validate_json(await caller.ask(GetProject(project_id=project_id, reveal=reveal)))


async def secret(caller: Caller, secret_id: int) -> SecretView:
    return SecretView.model_validate_json(await caller.ask(GetSecret(secret_id=secret_id)))


async def job_secrets(caller: Caller, project_id: int) -> dict[str, str]:
    answer = JobSecrets.model_validate_json(await caller.ask(GetJobSecrets(project_id=project_id)))
    return {one.name: one.value for one in answer.secrets}


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def documents(stage: Stage, condition: dict[str, Any]) -> list[dict[str, Any]]:
    async with mongo(stage.settings, "test") as client:
        return await database_of(client, stage.settings, "projects")["commits"].find(condition).to_list()


async def test_two_replicas_make_one_default_executor(caller: Caller) -> None:
    executors = Executors.model_validate_json(await caller.ask(ListExecutors())).executors
    assert [(one.name, one.driver, one.variables) for one in executors][:1] == [("default", "localDriver", {})]
    assert len([one for one in executors if one.name == "default"]) == 1


async def test_a_project_is_created_whole(caller: Caller, shop: CreateProject) -> None:
    developer = await done(caller, RegisterUser(username="dev-whole", password="millwheel-7"))
    key = await done(caller, CreateCredential(name="deploy", ssh_key="KEY"))
    token = await done(caller, CreateSecret(name="TOKEN", value="v", projects_id=()))
    wish = shop.but(
        name="Whole Shop",
        description="all of it",
        keep_number_build=5,
        credential_id=key,
        developers_id=(developer,),
        secrets_id=(token,),
        owner_alias="DEV-WHOLE",
    )
    project_id = await done(caller, wish)
    view = await project(caller, project_id, reveal=True)
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
        executor_id=shop.executor_id,
        last_build=LastBuild(),
        owner_alias="dev-whole",
        owner_user_id=developer,
        alias="whole-shop",
        protected_branches=("main",),
        created_at=view.created_at,
    )
    assert (await project(caller, project_id)).signature_key is None
    assert (await secret(caller, token)).projects_id == (project_id,)
    found = await caller.ask(FindProject(owner_alias="Dev-Whole", alias="Whole-Shop"))
    assert ProjectView.model_validate_json(found).id == project_id
    everything = Projects.model_validate_json(await caller.ask(ListProjects())).projects
    assert (await project(caller, project_id)) in everything
    settings = LaunchSettings.model_validate_json(await caller.ask(GetLaunchSettings(project_id=project_id)))
    assert (settings.project_id, settings.owner_alias, settings.credential_id) == (project_id, "dev-whole", key)
    await until(lambda: knows_project(caller, developer, project_id))


async def knows_project(caller: Caller, user_id: int, project_id: int) -> bool:
    user = UserView.model_validate_json(await caller.ask(GetUser(user_id=user_id)))
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
        ({"secrets_id": (10**30,), "owner_alias": "nobody"}, "SECRET_NOT_FOUND"),
        ({"owner_alias": "nobody"}, "PROJECT_OWNER_INVALID"),
        ({"alias": "a b"}, "PROJECT_ALIAS_INVALID"),
        ({"keep_number_build": -1}, "PROJECT_KEEP_NUMBER_BUILD_INVALID"),
    ],
)
async def test_a_project_that_does_not_fit_is_refused(
    caller: Caller, shop: CreateProject, changes: dict[str, Any], code: str
) -> None:
    assert await code_of(caller, shop.but(**{"name": "Misfit", **changes})) == code


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (GetProject(project_id=10**30), "PROJECT_NOT_FOUND"),
        (GetLaunchSettings(project_id=0), "PROJECT_NOT_FOUND"),
        (GetJobSecrets(project_id=0), "PROJECT_NOT_FOUND"),
        (DeleteProject(project_id=0), "PROJECT_NOT_FOUND"),
        (RenewSignatureKey(project_id=0), "PROJECT_NOT_FOUND"),
        (ChooseSecrets(project_id=0, secrets_id=()), "PROJECT_NOT_FOUND"),
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
async def test_bad_input_has_a_code(caller: Caller, message: Command | Query, code: str) -> None:
    assert await code_of(caller, message) == code


async def test_projects_of_one_name_get_different_addresses_even_at_once(caller: Caller, shop: CreateProject) -> None:
    wishes = (done(caller, shop.but(name="Twin", owner_alias="root")) for _ in range(6))
    ids = await asyncio.gather(*wishes)
    aliases = {(await project(caller, one)).alias for one in ids}
    assert aliases == {"twin", "twin-2", "twin-3", "twin-4", "twin-5", "twin-6"}
    taken = shop.but(name="Other", owner_alias="root", alias="TWIN-3")
    assert await code_of(caller, taken) == "PROJECT_ALIAS_TAKEN"


async def test_a_repeated_creation_makes_one_project(caller: Caller, shop: CreateProject) -> None:
    wish = shop.but(name="Once")
    first = await caller.tell(wish, command_id="7d0d4e52-create-once", actor=ROOT)
    assert await caller.tell(wish, command_id="7d0d4e52-create-once", actor=ROOT) == first


async def test_a_project_moves_to_another_address(caller: Caller, shop: CreateProject) -> None:
    first = await done(caller, shop.but(name="Mover"))
    second = await done(caller, shop.but(name="Mover"))
    command = MoveProject(project_id=second, alias="mover")
    assert await code_of(caller, command) == "PROJECT_ALIAS_TAKEN"
    await caller.tell(DeleteProject(project_id=first))
    await caller.tell(command)
    assert (await project(caller, second)).alias == "mover"


async def test_a_secret_goes_where_it_was_sent_and_nowhere_else(caller: Caller, shop: CreateProject) -> None:
    here, there = [await done(caller, shop.but(name=name)) for name in ("Here", "There")]
    everywhere = await done(caller, CreateSecret(name="SHARED", value="global"))
    also = await done(caller, CreateSecret(name="ONLY_GLOBAL", value="for all"))
    own = await done(caller, CreateSecret(name="SHARED", value="own", projects_id=(here,)))
    assert (await job_secrets(caller, here)).items() >= {"SHARED": "own", "ONLY_GLOBAL": "for all"}.items()
    assert (await job_secrets(caller, there)).items() >= {"SHARED": "global", "ONLY_GLOBAL": "for all"}.items()

    await caller.tell(ChooseSecrets(project_id=there, secrets_id=(own,)))
    assert (await secret(caller, own)).projects_id == tuple(sorted((here, there)))
    assert (await project(caller, there)).secrets_id == (own,)
    await caller.tell(ChooseSecrets(project_id=there, secrets_id=()))
    assert (await secret(caller, own)).projects_id == (here,)
    assert await code_of(caller, DeleteSecret(secret_id=own)) == "SECRET_PROJECTS_NOT_EMPTY"

    await caller.tell(DeleteProject(project_id=here))
    orphan = await secret(caller, own)
    assert (orphan.projects_id, orphan.is_global) == ((), False)
    assert (await job_secrets(caller, there))["SHARED"] == "global"
    await caller.tell(ChooseSecretProjects(secret_id=own, projects_id=(there,)))
    assert (await job_secrets(caller, there))["SHARED"] == "own"
    await caller.tell(ChooseSecretProjects(secret_id=own, projects_id=()))
    assert (await secret(caller, own)).is_global

    for one in (everywhere, also, own):
        await caller.tell(DeleteSecret(secret_id=one))
        assert await code_of(caller, GetSecret(secret_id=one)) == "SECRET_NOT_FOUND"


async def test_secrets_lie_sealed_wherever_they_are(
    stage: Stage, bus: Client, caller: Caller, shop: CreateProject
) -> None:
    project_id = await done(caller, shop.but(name="Sealed"))
    value = await done(caller, CreateSecret(name="CANARY", value=CANARY, projects_id=(project_id,)))
    await caller.tell(ChangeSecretValue(secret_id=value, value=f"{CANARY}-2"))
    key = await done(caller, CreateCredential(name="canary", ssh_key=f"{CANARY}-key"))
    executor = await done(caller, CreateExecutor(name="canary", driver="openStackDriver"))
    await caller.tell(ChangeExecutorVariables(executor_id=executor, variables={"OS_PASSWORD": f"{CANARY}-variable"}))
    await caller.tell(ChooseCredential(project_id=project_id, credential_id=key))

    secrets = JobSecrets.model_validate_json(await caller.ask(GetJobSecrets(project_id=project_id)))
    revealed = await caller.ask(GetExecutor(executor_id=executor, reveal=True))
    assert secrets.ssh_key == f"{CANARY}-key"
    assert [one.value for one in secrets.secrets if one.name == "CANARY"] == [f"{CANARY}-2"]
    assert ExecutorView.model_validate_json(revealed).variables == {"OS_PASSWORD": f"{CANARY}-variable"}

    shown = b"".join(
        [
            await caller.ask(GetSecret(secret_id=value)),
            await caller.ask(ListSecrets()),
            await caller.ask(GetExecutor(executor_id=executor)),
            await caller.ask(ListExecutors()),
            await caller.ask(PageSecrets()),
        ]
    )
    async with mongo(stage.settings, "test") as client:
        database = database_of(client, stage.settings, "projects")
        names = await database.list_collection_names()
        stored = json_util.dumps([await database[name].find().to_list() for name in names])
    await until(lambda: published(bus, f"executor-{executor}"))
    assert "canary-5b1f" not in shown.decode() + stored + await events(bus)


async def test_the_login_of_a_repository_lies_sealed_and_goes_to_builds_of_that_address_alone(
    stage: Stage, bus: Client, caller: Caller, shop: CreateProject
) -> None:
    address, other = "https://ada:canary%2D77c4@forge.example/login.git", "https://bob:canary-77c4@forge.example/x.git"
    bare = "https://forge.example/login.git"
    project_id = await done(caller, shop.but(name="Login", repository=address))

    async def login(repository: str | None = bare) -> str | None:
        question = GetJobSecrets(project_id=project_id, repository=repository)
        return JobSecrets.model_validate_json(await caller.ask(question)).repository_login

    assert (await login(), await login(None), await login("https://evil.example/")) == ("ada:canary-77c4", None, None)
    settings = LaunchSettings.model_validate_json(await caller.ask(GetLaunchSettings(project_id=project_id)))
    view = await project(caller, project_id, reveal=True)
    assert (settings.repository, view.repository) == (bare, bare)

    changed = await caller.tell(ChangeRepository(project_id=project_id, repository=other))
    assert (await login(), await login("https://forge.example/x.git")) == (None, "bob:canary-77c4")
    await caller.tell(ChangeRepository(project_id=project_id, repository="https://forge.example/x.git"))
    assert await login("https://forge.example/x.git") is None

    row = Done.model_validate_json(changed).row
    assert row["sealed_login"].startswith("s1.")
    history = json_util.dumps(await documents(stage, {"stream": f"project-{project_id}"}))
    assert history.count('"sealed_login": "s1.') == 2
    await until(lambda: published(bus, f"project-{project_id}"))
    assert "canary" not in history + str(row) + view.model_dump_json()
    assert "canary-77c4" not in await events(bus)


async def test_a_login_for_a_project_that_does_not_exist_makes_no_key(stage: Stage, caller: Caller) -> None:
    command = ChangeRepository(project_id=10**6, repository="https://ada:hush@forge.example/x.git")
    assert await code_of(caller, command) == "PROJECT_NOT_FOUND"
    async with mongo(stage.settings, "test") as client:
        keys = database_of(client, stage.settings, "projects")["data_keys"]
        assert await keys.count_documents({"_id": f"project-{10**6}"}) == 0


async def published(bus: Client, stream: str) -> bool:
    return stream in await events(bus)


async def events(bus: Client) -> str:
    js = bus.jetstream()
    state = (await js.stream_info("projects")).state
    messages = [await js.get_msg("projects", number) for number in range(state.first_seq, state.last_seq + 1)]
    return "".join(f"{message.subject} {(message.data or b'').decode()}\n" for message in messages)


async def test_each_look_at_a_secret_is_recorded_with_who_looked(stage: Stage, caller: Caller) -> None:
    looker = Actor(17, "olga", ("ROLE_ADMIN",))
    value = await done(caller, CreateSecret(name="SEEN", value="seen value"))
    key = await done(caller, CreateCredential(name="seen", ssh_key="seen key"))
    seen = SecretView.model_validate_json(await caller.tell(RevealSecret(secret_id=value), actor=looker))
    seen_key = CredentialView.model_validate_json(await caller.tell(RevealCredential(credential_id=key), actor=looker))
    assert (seen.value, seen_key.ssh_key) == ("seen value", "seen key")
    looks = await documents(stage, {"events.name": {"$in": ["SecretRevealed", "CredentialRevealed"]}})
    assert {one["stream"] for one in looks if one["actor"]["name"] == "olga"} == {
        f"secret-{value}",
        f"credential-{key}",
    }


async def test_what_a_project_uses_stays(caller: Caller, shop: CreateProject) -> None:
    key = await done(caller, CreateCredential(name="used", ssh_key="x"))
    executor = await done(caller, CreateExecutor(name="used", driver="localDriver"))
    user = await done(caller, shop.but(name="User", executor_id=executor, credential_id=key))
    assert await code_of(caller, DeleteCredential(credential_id=key)) == "CREDENTIAL_IN_USE"
    assert await code_of(caller, DeleteExecutor(executor_id=executor)) == "EXECUTOR_IN_USE"
    await caller.tell(DeleteProject(project_id=user))
    await caller.tell(DeleteCredential(credential_id=key))
    await caller.tell(DeleteExecutor(executor_id=executor))


async def test_deleting_a_project_erases_its_key(stage: Stage, caller: Caller, shop: CreateProject) -> None:
    project_id = await done(caller, shop.but(name="Erased"))
    await caller.tell(DeleteProject(project_id=project_id))
    async with mongo(stage.settings, "test") as client:
        keys = database_of(client, stage.settings, "projects")["data_keys"]

        async def erased() -> bool:
            return await keys.find_one({"_id": f"project-{project_id}"}) is None

        await until(erased)


async def test_projects_follow_their_users(caller: Caller, shop: CreateProject) -> None:
    owner = await done(caller, RegisterUser(username="follow-1", password="millwheel-7"))
    other = await done(caller, RegisterUser(username="follow-x", password="millwheel-7"))
    project_id = await done(caller, shop.but(name="Followed", owner_alias="follow-1"))
    await caller.tell(ChooseDevelopers(project_id=project_id, developers_id=(owner, other)))
    await caller.tell(RenameUser(user_id=owner, username="follow-2"))
    await caller.tell(RenameUser(user_id=owner, username="follow-3"))
    await caller.tell(DeleteUser(user_id=other))

    async def followed() -> bool:
        view = await project(caller, project_id)
        return (view.owner_alias, view.developers_id) == ("follow-3", (owner,))

    await until(followed)


async def test_a_wish_whose_process_died_is_fulfilled_by_the_follower(
    stage: Stage, caller: Caller, shop: CreateProject
) -> None:
    developer = await done(caller, RegisterUser(username="wished", password="millwheel-7"))
    joined = await done(caller, shop.but(name="Joined"))
    left = await done(caller, shop.but(name="Left", developers_id=(developer,)))
    wish = ChooseDeveloperProjects(developer_id=developer, projects_id=(joined,), joined=(joined,), left=(left,))
    async with mongo(stage.settings, "test") as client:
        database = database_of(client, stage.settings, "projects")
        store = MongoStore(database, vault_of(database, stage.settings))
        await Streams(store).handle(membership_category, wish, Cause("a wish without reactions", QUEUED_AT))
        await store.drain()

    async def fulfilled() -> bool:
        members = [(await project(caller, one)).developers_id for one in (joined, left)]
        return members == [(developer,), ()]

    await until(fulfilled)


LAUNCHED = LaunchedProject(
    project_id=0, name="", owner_alias="", alias="", repository="", branch="main", spec_file_path="/spec.yaml"
)


async def publish(bus: Client, number: int, event: Event) -> None:
    recorded = Recorded(f"build-{number}", 1, 0, event, Cause(f"{number}-{type(event).__name__}", QUEUED_AT))
    await bus.jetstream().publish(
        cloudevents.subject("builds", recorded),
        cloudevents.to_body(recorded),
        headers=cloudevents.to_headers("builds", recorded),
    )


async def test_projects_show_their_last_builds_and_are_listed_by_them(
    bus: Client, caller: Caller, shop: CreateProject
) -> None:
    good, bad, never = [await done(caller, shop.but(name=f"Listed {name}")) for name in ("good", "Bad", "never")]
    planned = BuildPlanned(
        build_id=1, project_id=good, project=LAUNCHED, sha="s", ref="main", available_steps=("@a", "@cleanup"), jobs=()
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
    await publish(bus, 1, planned)
    await publish(bus, 1, finished)
    await publish(bus, 2, finished.but(**failed, queued_at=QUEUED_AT + timedelta(hours=1)))

    async def shown() -> bool:
        return (await project(caller, bad)).builds_id == (2,)

    await until(shown)
    view = await project(caller, good)
    assert (view.available_steps, view.builds_id) == (("@a", "@cleanup"), (1,))
    assert view.last_build == LastBuild(exit_code=0, exit_message=None, created_at=QUEUED_AT)

    async def listed(*filters: Filter, **order: Any) -> list[int]:
        here = Filter(column="project_name", operator="startwith", values=("LISTED ",))
        page = Page.model_validate_json(await caller.ask(PageProjects(filters=(*filters, here), **order)))
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
    whole = await caller.ask(PageProjects(filters=(Filter(column="id", operator="eq", values=(str(bad),)),)))
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


async def test_a_deleted_build_is_no_longer_the_last_one_of_its_project(
    bus: Client, caller: Caller, shop: CreateProject
) -> None:
    project_id = await done(caller, shop.but(name="Tidy"))

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
            view = await project(caller, project_id)
            return (view.builds_id, view.last_build.exit_code) == (builds_id, exit_code)

        await until(shown)

    await publish(bus, 23, ended(23))  # ended before those that were queued before it
    await publish(bus, 21, ended(21))
    await publish(bus, 22, ended(22))
    await follows((21, 22, 23), 23)
    await publish(bus, 23, BuildDeleted(build_id=23, project_id=project_id))
    await follows((21, 22), 22)
    await publish(bus, 21, BuildDeleted(build_id=21, project_id=project_id))
    await follows((22,), 22)
    await publish(bus, 22, BuildDeleted(build_id=22, project_id=project_id))
    await follows((), None)


async def test_the_build_ids_of_a_project_are_those_of_its_newest_builds(
    bus: Client, caller: Caller, shop: CreateProject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.projects.activity.MAX_BUILD_IDS", 2)
    monkeypatch.setattr("services.projects.activity.MAX_BUILD_IDS_IN_LIST", 1)
    project_id = await done(caller, shop.but(name="Busy"))
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
        await publish(bus, build_id, finished)

    async def are_the_newest() -> bool:
        return (await project(caller, project_id)).builds_id == (32, 33)

    await until(are_the_newest)
    listed = Projects.model_validate_json(await caller.ask(ListProjects()))
    assert {one.id: one.builds_id for one in listed.projects}[project_id] == (33,)
