"""Identity on real servers, with two replicas: access, unique names, what is sealed, the last administrator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from bson import json_util

from contracts.errors import Refused
from contracts.identity import (
    Access,
    ChangeEmail,
    ChangePassword,
    ChangeRoles,
    DeleteUser,
    GetAccess,
    GetOwner,
    GetUser,
    ListUsers,
    LogIn,
    PageUsers,
    PublicKeys,
    RegisterUser,
    RenameUser,
    RotateSigningKeys,
    Session,
    SetUserEnabled,
    Users,
    UserView,
    VerificationKeys,
)
from contracts.messages import Command, Done, Page
from contracts.paging import Filter
from libs.connections import database_of, mongo
from libs.deciding import Actor
from libs.messaging import Caller
from libs.security.tokens import TokenInvalid, read
from libs.service import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"
PASSWORD = "millwheel-7"
ROOT = Actor(1, "root", (ADMIN,))


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers, admin_username="root", admin_password=PASSWORD) as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: Stage) -> AsyncIterator[Caller]:
    async with stage.connected() as bus:
        yield Caller(bus)


async def done(caller: Caller, command: Command) -> int:
    return int(Done.model_validate_json(await caller.tell(command, actor=ROOT)).row["id"])


async def registered(caller: Caller, username: str, *roles: str, email: str | None = None) -> int:
    return await done(caller, RegisterUser(username=username, password=PASSWORD, email=email, roles=roles))


async def access(caller: Caller, user_id: int) -> Access:
    return Access.model_validate_json(await caller.ask(GetAccess(user_id=user_id)))


async def user(caller: Caller, user_id: int) -> UserView:
    return UserView.model_validate_json(await caller.ask(GetUser(user_id=user_id)))


async def logged_in(caller: Caller, username: str, password: str = PASSWORD) -> Session:
    return Session.model_validate_json(await caller.ask(LogIn(username=username, password=password)))


async def code_of(caller: Caller, command: Command) -> str:
    with pytest.raises(Refused) as refused:
        await caller.tell(command)
    return refused.value.code


async def dump(stage: Stage) -> str:
    async with mongo(stage.settings, "test") as client:
        database = database_of(client, stage.settings, "identity")
        names = await database.list_collection_names()
        return json_util.dumps([await database[name].find().to_list() for name in names])


async def test_a_token_carries_who_may_what_and_is_verified_with_the_public_keys(caller: Caller) -> None:
    user_id = await registered(caller, "token-owner", ADMIN, DEVELOPER)
    session = await logged_in(caller, "Token-Owner")
    keys = VerificationKeys.model_validate_json(await caller.ask(PublicKeys())).keys
    claims = read(session.access_token, keys)
    assert len(keys) == 1
    assert (claims.user_id, claims.username, claims.roles) == (user_id, "token-owner", (ADMIN, DEVELOPER))
    assert claims.epoch == (await access(caller, user_id)).epoch
    assert session.expires_in == 3600


async def test_a_new_signing_key_locks_nobody_out_and_the_old_one_goes_when_its_tokens_have_ended(
    stage: Stage, caller: Caller
) -> None:
    await registered(caller, "key-owner")
    before = (await logged_in(caller, "key-owner")).access_token
    both = VerificationKeys.model_validate_json(await caller.tell(RotateSigningKeys())).keys
    after = (await logged_in(caller, "key-owner")).access_token
    assert read(before, both).username == read(after, both).username == "key-owner"
    async with mongo(stage.settings, "test") as client:
        stored = database_of(client, stage.settings, "identity")["signing_keys"]
        await stored.update_one({"_id": 2}, {"$set": {"made_at": datetime.now(UTC) - timedelta(hours=2)}})
        left = VerificationKeys.model_validate_json(await caller.ask(PublicKeys())).keys
        assert read(after, left).username == "key-owner"
        with pytest.raises(TokenInvalid):
            read(before, left)
        await caller.tell(RotateSigningKeys())
        assert [one["_id"] async for one in stored.find(sort=[("_id", 1)])] == [2, 3]


async def test_every_failed_log_in_looks_the_same(caller: Caller) -> None:
    user_id = await registered(caller, "locked-out")
    await caller.tell(SetUserEnabled(user_id=user_id, enabled=False))
    for attempt in (
        LogIn(username="nobody", password=PASSWORD),
        LogIn(username="root", password="millwheel-8"),
        LogIn(username="locked-out", password=PASSWORD),
    ):
        with pytest.raises(Refused) as refused:
            await caller.ask(attempt)
        assert (refused.value.code, refused.value.failure.status) == ("UNAUTHORIZED", 401)


async def test_the_same_name_goes_to_one_of_many_who_want_it_at_once(caller: Caller) -> None:
    names = ("contested", "Contested", "CONTESTED", "conTested")
    wishes = (caller.tell(RegisterUser(username=name, password=PASSWORD)) for name in names)
    outcomes = await asyncio.gather(*wishes, return_exceptions=True)
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, Refused)]
    assert codes == ["DEVELOPER_USERNAME_TAKEN"] * 3


async def test_emails_are_unique_without_regard_to_case(caller: Caller) -> None:
    await registered(caller, "mail-1", email="mail@example.org")
    other = await registered(caller, "mail-2")
    command = ChangeEmail(user_id=other, email="MAIL@example.org")
    assert await code_of(caller, command) == "DEVELOPER_EMAIL_TAKEN"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (RegisterUser(password=PASSWORD), "DEVELOPER_USERNAME_REQUIRED"),
        (RegisterUser(username="x"), "DEVELOPER_PASSWORD_REQUIRED"),
        (RegisterUser(username="x", password="short"), "DEVELOPER_PASSWORD_WEAK"),
        (RegisterUser(username="olga-long", password="OLGA-LONG-1"), "DEVELOPER_PASSWORD_WEAK"),
        (RegisterUser(username="x").but(password="x" * 1025), "REQUEST_INVALID"),
        (RegisterUser(password=PASSWORD).but(username="x" * 256), "REQUEST_INVALID"),
        (ChangePassword(user_id=10**30, password=PASSWORD), "DEVELOPER_NOT_FOUND"),
        (RenameUser(user_id=0, username="x"), "DEVELOPER_NOT_FOUND"),
        (DeleteUser(user_id=10**6), "DEVELOPER_NOT_FOUND"),
    ],
)
async def test_bad_input_has_a_code(caller: Caller, command: Command, code: str) -> None:
    assert await code_of(caller, command) == code


async def test_the_epoch_grows_with_every_change_of_access(caller: Caller) -> None:
    user_id = await registered(caller, "epochs")
    await caller.tell(ChangePassword(user_id=user_id, password="millwheel-9"))
    await caller.tell(ChangeRoles(user_id=user_id, roles=(DEVELOPER,)))
    await caller.tell(SetUserEnabled(user_id=user_id, enabled=False))
    now = await access(caller, user_id)
    assert (now.epoch, now.enabled, now.roles) == (3, False, (DEVELOPER,))
    await caller.tell(SetUserEnabled(user_id=user_id, enabled=True))
    await logged_in(caller, "epochs", "millwheel-9")


async def test_a_former_name_is_free_at_once(caller: Caller) -> None:
    user_id = await registered(caller, "former")
    await caller.tell(RenameUser(user_id=user_id, username="latter"))
    other = await registered(caller, "former")
    assert (await user(caller, user_id)).username == "latter"
    assert (await user(caller, other)).username == "former"


async def test_passwords_and_personal_data_lie_sealed_in_the_log(stage: Stage, caller: Caller) -> None:
    user_id = await registered(caller, "discreet", email="canary@example.org")
    async with mongo(stage.settings, "test") as client:
        database = database_of(client, stage.settings, "identity")
        log = json_util.dumps(await database["commits"].find({"stream": f"user-{user_id}"}).to_list())
    everything = await dump(stage)
    assert "canary@example.org" not in log
    assert "canary@example.org" in everything  # in the row, which is deleted with the user
    assert PASSWORD not in everything
    assert "$argon2id$" not in everything


async def test_a_deleted_user_is_forgotten(stage: Stage, caller: Caller) -> None:
    user_id = await registered(caller, "forgotten", email="forgotten@example.org")
    await caller.tell(DeleteUser(user_id=user_id))
    async with mongo(stage.settings, "test") as client, asyncio.timeout(30):
        database = database_of(client, stage.settings, "identity")
        while await database["data_keys"].find_one({"_id": f"user-{user_id}"}):  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    assert "forgotten@example.org" not in await dump(stage)
    with pytest.raises(Refused, match="DEVELOPER_NOT_FOUND"):
        await access(caller, user_id)
    await registered(caller, "forgotten", email="forgotten@example.org")


async def test_lists_and_questions_about_users(caller: Caller) -> None:
    first = await registered(caller, "Listed.One", DEVELOPER, email="one@listed.example")
    second = await registered(caller, "listed.two", ADMIN)
    users = Users.model_validate_json(await caller.ask(ListUsers(user_ids=(second, first)))).users
    assert [one.id for one in users] == sorted((first, second))
    everybody = Users.model_validate_json(await caller.ask(ListUsers())).users
    assert {first, second} <= {one.id for one in everybody}
    one = UserView.model_validate_json(await caller.ask(GetUser(username="LISTED.ONE")))
    assert (one.id, one.email, one.projects_id) == (first, "one@listed.example", ())
    assert isinstance(one.created_at, datetime)
    with pytest.raises(Refused, match="DEVELOPER_NOT_FOUND"):
        await caller.ask(ListUsers(user_ids=(first, 10**30)))
    with pytest.raises(Refused, match="DEVELOPER_NOT_FOUND"):
        await caller.ask(GetOwner(alias="listed"))
    named = Filter(column="user_username", operator="contains", values=("LISTED.",))
    page = await caller.ask(PageUsers(filters=(named,), sort_by="user_username", per_page=1))
    assert Page.model_validate_json(page) == Page(
        rows=(
            {
                "developer_id": second,
                "user_username": "listed.two",
                "developer_email": None,
                "user_role": ADMIN,
            },
        ),
        total=2,
    )
    await caller.tell(DeleteUser(user_id=second))


async def test_administrators_who_remove_each_other_at_once_leave_one(caller: Caller) -> None:
    for attempt in range(5):
        ids = [await registered(caller, f"rival-{attempt}-{number}", ADMIN) for number in range(3)]
        root = UserView.model_validate_json(await caller.ask(GetUser(username="root"))).id
        removals = (
            DeleteUser(user_id=root) if attempt == 4 else SetUserEnabled(user_id=root, enabled=False),
            ChangeRoles(user_id=ids[0], roles=()),
            SetUserEnabled(user_id=ids[1], enabled=False),
            DeleteUser(user_id=ids[2]),
        )
        outcomes = await asyncio.gather(*(caller.tell(one) for one in removals), return_exceptions=True)
        codes = {outcome.code for outcome in outcomes if isinstance(outcome, Refused)}
        left = Users.model_validate_json(await caller.ask(ListUsers())).users
        assert [one for one in left if one.enabled and ADMIN in one.roles], outcomes
        assert codes <= {"CONFLICT", "DEVELOPER_LAST_ADMINISTRATOR"}
        assert [outcome for outcome in outcomes if isinstance(outcome, bytes)]
