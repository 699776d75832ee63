"""Companies with two replicas of identity and of projects: names shared with users, members and projects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable

import pytest

from contracts.errors import RequestRejected
from contracts.identity import (
    CompanyView,
    CreateCompany,
    DeleteCompany,
    DeleteUser,
    GetCompany,
    GetOwner,
    ListCompanies,
    Owner,
    RegisterUser,
    RenameCompany,
    RenameUser,
    SetCompanyMembers,
)
from contracts.messages import Command, CommandReply, Page, Query
from contracts.projects import (
    CreateProject,
    DeleteProject,
    GetLaunchSettings,
    GetProject,
    LaunchSettings,
    ListExecutors,
    MoveProject,
    ProjectView,
)
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.service.declaration import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually

ROOT = Actor(0, "root", ("ROLE_ADMIN",))


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, admin_username="root", admin_password="millwheel-7") as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity, replicas=2), stage.running(lambda: projects, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: ServiceStage) -> AsyncIterator[MessageClient]:
    async with stage.connected() as bus:
        yield MessageClient(bus)


@pytest.fixture(scope="module")
async def new_project(caller: MessageClient) -> CreateProject:
    """Return a command that creates a project. Tests only have to set its owner."""
    (default,) = Page.model_validate_json(await caller.query(ListExecutors())).rows
    return CreateProject(
        name="Shop",
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        allow_concurrent_execution=True,
        executor_id=default["id"],
    )


async def send_for_id(caller: MessageClient, command: Command) -> int:
    return int(CommandReply.model_validate_json(await caller.send(command, actor=ROOT)).row["id"])


async def register_user(caller: MessageClient, username: str) -> int:
    return await send_for_id(caller, RegisterUser(username=username, password="millwheel-7"))


async def get_company(caller: MessageClient, company_id: int) -> CompanyView:
    return CompanyView.model_validate_json(await caller.query(GetCompany(company_id=company_id)))


async def get_project(caller: MessageClient, project_id: int) -> ProjectView:
    return ProjectView.model_validate_json(await caller.query(GetProject(project_id=project_id)))


async def get_owner(caller: MessageClient, alias: str) -> Owner:
    return Owner.model_validate_json(await caller.query(GetOwner(alias=alias)))


async def is_launch_allowed(caller: MessageClient, project_id: int, user_id: int) -> bool:
    answer = await caller.query(
        GetLaunchSettings(project_id=project_id), actor=Actor(user_id, "x", ("ROLE_DEVELOPER",))
    )
    return LaunchSettings.model_validate_json(answer).allowed


async def get_error_code(caller: MessageClient, message: Command | Query) -> str:
    with pytest.raises(RequestRejected) as refused:
        await (caller.send(message, actor=ROOT) if isinstance(message, Command) else caller.query(message))
    return refused.value.code


async def outcome_code(sending: Awaitable[bytes]) -> str:
    try:
        await sending
    except RequestRejected as refused:
        return refused.code
    return "done"


async def test_a_company_is_found_by_id_and_by_alias(caller: MessageClient) -> None:
    member = await register_user(caller, "finder")
    company_id = await send_for_id(caller, CreateCompany(title="Found Works", alias="Found", members_id=(member,)))
    view = await get_company(caller, company_id)
    assert (view.id, view.title, view.alias, view.members_id) == (company_id, "Found Works", "Found", (member,))
    assert CompanyView.model_validate_json(await caller.query(GetCompany(alias="FOUND"))) == view
    assert view.model_dump(mode="json") in Page.model_validate_json(await caller.query(ListCompanies())).rows
    assert await get_owner(caller, "found") == Owner(alias="Found", kind="company", id=company_id)
    for unknown in (GetCompany(company_id=99999), GetCompany(alias="unknown"), GetCompany()):
        assert await get_error_code(caller, unknown) == "COMPANY_NOT_FOUND"


async def test_a_company_without_an_alias_gets_the_first_alias_free_among_all_owners(caller: MessageClient) -> None:
    await register_user(caller, "stone-works")
    creations = (send_for_id(caller, CreateCompany(title="Stone Works")) for _ in range(4))
    aliases = {(await get_company(caller, company_id)).alias for company_id in await asyncio.gather(*creations)}
    assert aliases == {"stone-works-2", "stone-works-3", "stone-works-4", "stone-works-5"}


async def test_a_repeated_create_command_creates_one_company(caller: MessageClient) -> None:
    command = CreateCompany(title="Once Works")
    first = await caller.send(command, command_id="9f1d4e52-once", actor=ROOT)
    assert await caller.send(command, command_id="9f1d4e52-once", actor=ROOT) == first


async def test_company_members_must_be_existing_users(caller: MessageClient) -> None:
    company_id = await send_for_id(caller, CreateCompany(title="Real Members"))
    for command in (
        CreateCompany(title="Ghosts", members_id=(99999,)),
        SetCompanyMembers(company_id=company_id, members_id=(99999,)),
    ):
        assert await get_error_code(caller, command) == "DEVELOPER_NOT_FOUND"


async def test_companies_and_users_share_one_namespace_of_aliases(caller: MessageClient) -> None:
    company_id = await send_for_id(caller, CreateCompany(title="Sole", alias="sole-name"))
    taken = RegisterUser(username="Sole-Name", password="millwheel-7")
    assert await get_error_code(caller, taken) == "DEVELOPER_USERNAME_TAKEN"
    assert await get_error_code(caller, CreateCompany(title="Root", alias="ROOT")) == "COMPANY_ALIAS_TAKEN"
    assert await get_error_code(caller, RenameCompany(company_id=company_id, alias="root")) == "COMPANY_ALIAS_TAKEN"
    await send_for_id(caller, RenameCompany(company_id=company_id, alias="sole-other"))
    freed = await send_for_id(caller, taken)
    assert await get_owner(caller, "sole-name") == Owner(alias="Sole-Name", kind="user", id=freed)
    assert (
        await get_error_code(caller, RenameCompany(company_id=company_id, alias="sole-name")) == "COMPANY_ALIAS_TAKEN"
    )


@pytest.mark.parametrize("round_", range(5))
async def test_a_user_and_a_company_racing_for_one_name_get_one_winner(caller: MessageClient, round_: int) -> None:
    name = f"raced-{round_}"
    found = await asyncio.gather(
        outcome_code(caller.send(CreateCompany(title="Raced", alias=name.upper()), actor=ROOT)),
        outcome_code(caller.send(RegisterUser(username=name, password="millwheel-7"), actor=ROOT)),
    )
    assert tuple(found) in {("done", "DEVELOPER_USERNAME_TAKEN"), ("COMPANY_ALIAS_TAKEN", "done")}
    kind = "company" if found[0] == "done" else "user"
    assert (await get_owner(caller, name)).kind == kind


async def test_a_deleted_user_is_removed_from_companies(caller: MessageClient) -> None:
    leaving, staying = await register_user(caller, "leaving"), await register_user(caller, "staying")
    company_id = await send_for_id(caller, CreateCompany(title="Left Works", members_id=(leaving, staying)))
    await caller.send(DeleteUser(user_id=leaving), actor=ROOT)

    async def has_left() -> bool:
        return (await get_company(caller, company_id)).members_id == (staying,)

    await eventually(has_left)


async def test_renaming_a_company_updates_the_owner_alias_of_its_projects(
    caller: MessageClient, new_project: CreateProject
) -> None:
    company_id = await send_for_id(caller, CreateCompany(title="Follow Works", alias="follow-works"))
    project_id = await send_for_id(caller, new_project.replace(owner_alias="Follow-Works"))
    view = await get_project(caller, project_id)
    assert (view.owner_alias, view.company_id, view.owner_user_id) == ("follow-works", company_id, None)
    await send_for_id(caller, RenameCompany(company_id=company_id, alias="follow-2"))
    await send_for_id(caller, RenameCompany(company_id=company_id, alias="Follow-3"))

    async def has_followed() -> bool:
        return (await get_project(caller, project_id)).owner_alias == "Follow-3"

    await eventually(has_followed)
    assert (await get_project(caller, project_id)).company_id == company_id


async def test_a_project_moves_from_a_user_to_a_company_and_back(
    caller: MessageClient, new_project: CreateProject
) -> None:
    owner_id = await register_user(caller, "mover-user")
    company_id = await send_for_id(caller, CreateCompany(title="Mover Works", alias="mover-works"))
    project_id = await send_for_id(caller, new_project.replace(owner_alias="mover-user"))
    assert ((await get_project(caller, project_id)).owner_user_id, owner_id) == (owner_id, owner_id)
    await send_for_id(caller, MoveProject(project_id=project_id, owner_alias="mover-works"))
    await send_for_id(caller, MoveProject(project_id=project_id, alias="store"))
    view = await get_project(caller, project_id)
    assert (view.owner_alias, view.alias, view.company_id, view.owner_user_id) == (
        "mover-works",
        "store",
        company_id,
        None,
    )
    await send_for_id(caller, MoveProject(project_id=project_id, owner_alias="mover-user"))
    view = await get_project(caller, project_id)
    assert (view.owner_alias, view.company_id, view.owner_user_id) == ("mover-user", None, owner_id)


async def test_a_project_of_a_company_that_took_a_users_former_name_keeps_its_owner(
    caller: MessageClient, new_project: CreateProject
) -> None:
    ivan = await register_user(caller, "hand-over")
    own = await send_for_id(caller, new_project.replace(owner_alias="hand-over"))
    foreign = await send_for_id(caller, new_project.replace(owner_alias="root", name="Foreign"))
    await send_for_id(caller, RenameUser(user_id=ivan, username="handed-over"))
    await send_for_id(caller, CreateCompany(title="Hand Over", alias="hand-over"))
    await send_for_id(caller, MoveProject(project_id=foreign, owner_alias="hand-over"))

    async def is_moved() -> bool:
        return (await get_project(caller, own)).owner_alias == "handed-over"

    await eventually(is_moved)
    assert (await get_project(caller, foreign)).owner_alias == "hand-over"


async def test_only_members_of_the_owning_company_may_launch_builds(
    caller: MessageClient, new_project: CreateProject
) -> None:
    member, stranger = await register_user(caller, "launch-member"), await register_user(caller, "launch-stranger")
    company_id = await send_for_id(caller, CreateCompany(title="Launch", alias="launch-works", members_id=(member,)))
    project_id = await send_for_id(caller, new_project.replace(owner_alias="launch-works"))
    assert await is_launch_allowed(caller, project_id, member)
    assert not await is_launch_allowed(caller, project_id, stranger)
    await send_for_id(caller, SetCompanyMembers(company_id=company_id, members_id=(stranger,)))
    assert not await is_launch_allowed(caller, project_id, member)
    assert await is_launch_allowed(caller, project_id, stranger)


async def test_a_company_with_projects_cannot_be_deleted(caller: MessageClient, new_project: CreateProject) -> None:
    company_id = await send_for_id(caller, CreateCompany(title="Kept Works", alias="kept-works"))
    project_id = await send_for_id(caller, new_project.replace(owner_alias="kept-works"))
    assert await get_error_code(caller, DeleteCompany(company_id=company_id)) == "COMPANY_PROJECTS_NOT_EMPTY"
    await caller.send(DeleteProject(project_id=project_id), actor=ROOT)
    await caller.send(DeleteCompany(company_id=company_id), actor=ROOT)
    assert await get_error_code(caller, GetCompany(company_id=company_id)) == "COMPANY_NOT_FOUND"
    assert await get_error_code(caller, new_project.replace(owner_alias="kept-works")) == "PROJECT_OWNER_INVALID"
    assert await register_user(caller, "kept-works") > 0


@pytest.mark.parametrize("round_", range(5))
async def test_a_project_created_while_its_company_is_deleted_is_never_owned_by_a_deleted_company(
    caller: MessageClient, new_project: CreateProject, round_: int
) -> None:
    alias, name = f"brief-{round_}", f"deleter-{round_}"
    actor = Actor(await register_user(caller, name), name, ("ROLE_ADMIN",))
    company_id = await send_for_id(caller, CreateCompany(title="Brief", alias=alias))
    created, deleted = await asyncio.gather(
        caller.send(new_project.replace(owner_alias=alias), actor=actor),
        outcome_code(caller.send(DeleteCompany(company_id=company_id), actor=actor)),
        return_exceptions=True,
    )
    if isinstance(created, BaseException):
        assert isinstance(created, RequestRejected)
        assert (created.code, deleted) == ("PROJECT_OWNER_INVALID", "done")
        return

    async def has_an_owner() -> bool:
        view = await get_project(caller, int(CommandReply.model_validate_json(created).row["id"]))
        return (deleted == "done") != (view.company_id == company_id)

    await eventually(has_an_owner)
