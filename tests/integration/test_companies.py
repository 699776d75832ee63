"""Companies on real servers, two replicas of identity and of projects: one space of names, members, their projects."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from contracts.errors import Refused
from contracts.identity import (
    ChooseMembers,
    Companies,
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
)
from contracts.messages import Command, Done, Query
from contracts.projects import (
    CreateProject,
    DeleteProject,
    Executors,
    GetLaunchSettings,
    GetProject,
    LaunchSettings,
    ListExecutors,
    MoveProject,
    ProjectView,
)
from libs.deciding import Actor
from libs.messaging import Caller
from libs.service import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

ROOT = Actor(0, "root", ("ROLE_ADMIN",))


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers, admin_username="root", admin_password="millwheel-7") as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity, replicas=2), stage.running(lambda: projects, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: Stage) -> AsyncIterator[Caller]:
    async with stage.connected() as bus:
        yield Caller(bus)


@pytest.fixture(scope="module")
async def shop(caller: Caller) -> CreateProject:
    """A project that only wants an owner."""
    (default,) = Executors.model_validate_json(await caller.ask(ListExecutors())).executors
    return CreateProject(
        name="Shop",
        repository="https://forge.example/shop.git",
        branch="main",
        spec_file_path="/spec.yaml",
        allow_concurrent_execution=True,
        executor_id=default.id,
    )


async def done(caller: Caller, command: Command) -> int:
    return int(Done.model_validate_json(await caller.tell(command, actor=ROOT)).row["id"])


async def user(caller: Caller, username: str) -> int:
    return await done(caller, RegisterUser(username=username, password="millwheel-7"))


async def company(caller: Caller, company_id: int) -> CompanyView:
    return CompanyView.model_validate_json(await caller.ask(GetCompany(company_id=company_id)))


async def project(caller: Caller, project_id: int) -> ProjectView:
    return ProjectView.model_validate_json(await caller.ask(GetProject(project_id=project_id)))


async def owner(caller: Caller, alias: str) -> Owner:
    return Owner.model_validate_json(await caller.ask(GetOwner(alias=alias)))


async def may_launch(caller: Caller, project_id: int, user_id: int) -> bool:
    answer = await caller.ask(GetLaunchSettings(project_id=project_id), actor=Actor(user_id, "x", ("ROLE_DEVELOPER",)))
    return LaunchSettings.model_validate_json(answer).allowed


async def code_of(caller: Caller, message: Command | Query) -> str:
    with pytest.raises(Refused) as refused:
        await (caller.tell(message, actor=ROOT) if isinstance(message, Command) else caller.ask(message))
    return refused.value.code


async def until(true: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(30):
        while not await true():  # noqa: ASYNC110
            await asyncio.sleep(0.02)


async def outcome(telling: Awaitable[bytes]) -> str:
    try:
        await telling
    except Refused as refused:
        return refused.code
    return "done"


async def test_a_company_is_found_by_number_and_by_alias(caller: Caller) -> None:
    member = await user(caller, "finder")
    company_id = await done(caller, CreateCompany(title="Found Works", alias="Found", members_id=(member,)))
    view = await company(caller, company_id)
    assert (view.id, view.title, view.alias, view.members_id) == (company_id, "Found Works", "Found", (member,))
    assert CompanyView.model_validate_json(await caller.ask(GetCompany(alias="FOUND"))) == view
    assert view in Companies.model_validate_json(await caller.ask(ListCompanies())).companies
    assert await owner(caller, "found") == Owner(alias="Found", kind="company", id=company_id)
    for unknown in (GetCompany(company_id=99999), GetCompany(alias="nobody"), GetCompany()):
        assert await code_of(caller, unknown) == "COMPANY_NOT_FOUND"


async def test_a_company_without_an_alias_gets_one_that_is_free_among_all_owners(caller: Caller) -> None:
    await user(caller, "stone-works")
    wishes = (done(caller, CreateCompany(title="Stone Works")) for _ in range(4))
    aliases = {(await company(caller, one)).alias for one in await asyncio.gather(*wishes)}
    assert aliases == {"stone-works-2", "stone-works-3", "stone-works-4", "stone-works-5"}


async def test_a_repeated_creation_makes_one_company(caller: Caller) -> None:
    wish = CreateCompany(title="Once Works")
    first = await caller.tell(wish, command_id="9f1d4e52-once", actor=ROOT)
    assert await caller.tell(wish, command_id="9f1d4e52-once", actor=ROOT) == first


async def test_members_are_users_that_exist(caller: Caller) -> None:
    company_id = await done(caller, CreateCompany(title="Real Members"))
    for wish in (
        CreateCompany(title="Ghosts", members_id=(99999,)),
        ChooseMembers(company_id=company_id, members_id=(99999,)),
    ):
        assert await code_of(caller, wish) == "DEVELOPER_NOT_FOUND"


async def test_an_alias_belongs_to_a_company_or_to_a_user_never_to_both(caller: Caller) -> None:
    company_id = await done(caller, CreateCompany(title="Sole", alias="sole-name"))
    taken = RegisterUser(username="Sole-Name", password="millwheel-7")
    assert await code_of(caller, taken) == "DEVELOPER_USERNAME_TAKEN"
    assert await code_of(caller, CreateCompany(title="Root", alias="ROOT")) == "COMPANY_ALIAS_TAKEN"
    assert await code_of(caller, RenameCompany(company_id=company_id, alias="root")) == "COMPANY_ALIAS_TAKEN"
    await done(caller, RenameCompany(company_id=company_id, alias="sole-other"))
    freed = await done(caller, taken)
    assert await owner(caller, "sole-name") == Owner(alias="Sole-Name", kind="user", id=freed)
    assert await code_of(caller, RenameCompany(company_id=company_id, alias="sole-name")) == "COMPANY_ALIAS_TAKEN"


@pytest.mark.parametrize("round_", range(5))
async def test_of_a_user_and_a_company_that_want_one_name_at_once_one_gets_it(caller: Caller, round_: int) -> None:
    name = f"raced-{round_}"
    found = await asyncio.gather(
        outcome(caller.tell(CreateCompany(title="Raced", alias=name.upper()), actor=ROOT)),
        outcome(caller.tell(RegisterUser(username=name, password="millwheel-7"), actor=ROOT)),
    )
    assert tuple(found) in {("done", "DEVELOPER_USERNAME_TAKEN"), ("COMPANY_ALIAS_TAKEN", "done")}
    kind = "company" if found[0] == "done" else "user"
    assert (await owner(caller, name)).kind == kind


async def test_a_deleted_user_leaves_its_companies(caller: Caller) -> None:
    leaving, staying = await user(caller, "leaving"), await user(caller, "staying")
    company_id = await done(caller, CreateCompany(title="Left Works", members_id=(leaving, staying)))
    await caller.tell(DeleteUser(user_id=leaving), actor=ROOT)

    async def left() -> bool:
        return (await company(caller, company_id)).members_id == (staying,)

    await until(left)


async def test_projects_of_a_company_follow_its_alias(caller: Caller, shop: CreateProject) -> None:
    company_id = await done(caller, CreateCompany(title="Follow Works", alias="follow-works"))
    project_id = await done(caller, shop.but(owner_alias="Follow-Works"))
    view = await project(caller, project_id)
    assert (view.owner_alias, view.company_id, view.owner_user_id) == ("follow-works", company_id, None)
    await done(caller, RenameCompany(company_id=company_id, alias="follow-2"))
    await done(caller, RenameCompany(company_id=company_id, alias="Follow-3"))

    async def followed() -> bool:
        return (await project(caller, project_id)).owner_alias == "Follow-3"

    await until(followed)
    assert (await project(caller, project_id)).company_id == company_id


async def test_a_project_moves_from_a_user_to_a_company_and_back(caller: Caller, shop: CreateProject) -> None:
    mover = await user(caller, "mover-user")
    company_id = await done(caller, CreateCompany(title="Mover Works", alias="mover-works"))
    project_id = await done(caller, shop.but(owner_alias="mover-user"))
    assert ((await project(caller, project_id)).owner_user_id, mover) == (mover, mover)
    await done(caller, MoveProject(project_id=project_id, owner_alias="mover-works"))
    await done(caller, MoveProject(project_id=project_id, alias="store"))
    view = await project(caller, project_id)
    assert (view.owner_alias, view.alias, view.company_id, view.owner_user_id) == (
        "mover-works",
        "store",
        company_id,
        None,
    )
    await done(caller, MoveProject(project_id=project_id, owner_alias="mover-user"))
    view = await project(caller, project_id)
    assert (view.owner_alias, view.company_id, view.owner_user_id) == ("mover-user", None, mover)


async def test_a_renamed_user_takes_no_project_of_a_company_that_took_the_former_name(
    caller: Caller, shop: CreateProject
) -> None:
    ivan = await user(caller, "hand-over")
    own = await done(caller, shop.but(owner_alias="hand-over"))
    foreign = await done(caller, shop.but(owner_alias="root", name="Foreign"))
    await done(caller, RenameUser(user_id=ivan, username="handed-over"))
    await done(caller, CreateCompany(title="Hand Over", alias="hand-over"))
    await done(caller, MoveProject(project_id=foreign, owner_alias="hand-over"))

    async def moved() -> bool:
        return (await project(caller, own)).owner_alias == "handed-over"

    await until(moved)
    assert (await project(caller, foreign)).owner_alias == "hand-over"


async def test_members_of_the_owning_company_may_launch_and_nobody_else(caller: Caller, shop: CreateProject) -> None:
    member, stranger = await user(caller, "launch-member"), await user(caller, "launch-stranger")
    company_id = await done(caller, CreateCompany(title="Launch", alias="launch-works", members_id=(member,)))
    project_id = await done(caller, shop.but(owner_alias="launch-works"))
    assert await may_launch(caller, project_id, member)
    assert not await may_launch(caller, project_id, stranger)
    await done(caller, ChooseMembers(company_id=company_id, members_id=(stranger,)))
    assert not await may_launch(caller, project_id, member)
    assert await may_launch(caller, project_id, stranger)


async def test_a_company_with_projects_is_not_deleted(caller: Caller, shop: CreateProject) -> None:
    company_id = await done(caller, CreateCompany(title="Kept Works", alias="kept-works"))
    project_id = await done(caller, shop.but(owner_alias="kept-works"))
    assert await code_of(caller, DeleteCompany(company_id=company_id)) == "COMPANY_PROJECTS_NOT_EMPTY"
    await caller.tell(DeleteProject(project_id=project_id), actor=ROOT)
    await caller.tell(DeleteCompany(company_id=company_id), actor=ROOT)
    assert await code_of(caller, GetCompany(company_id=company_id)) == "COMPANY_NOT_FOUND"
    assert await code_of(caller, shop.but(owner_alias="kept-works")) == "PROJECT_OWNER_INVALID"
    assert await user(caller, "kept-works") > 0


@pytest.mark.parametrize("round_", range(5))
async def test_no_project_stays_with_a_company_that_is_deleted_at_the_same_moment(
    caller: Caller, shop: CreateProject, round_: int
) -> None:
    alias, name = f"brief-{round_}", f"deleter-{round_}"
    actor = Actor(await user(caller, name), name, ("ROLE_ADMIN",))
    company_id = await done(caller, CreateCompany(title="Brief", alias=alias))
    made, deleted = await asyncio.gather(
        caller.tell(shop.but(owner_alias=alias), actor=actor),
        outcome(caller.tell(DeleteCompany(company_id=company_id), actor=actor)),
        return_exceptions=True,
    )

    async def owned_by_somebody() -> bool:
        if isinstance(made, BaseException):
            return True
        view = await project(caller, int(Done.model_validate_json(made).row["id"]))
        return (deleted == "done") != (view.company_id == company_id)

    await until(owned_by_somebody)
