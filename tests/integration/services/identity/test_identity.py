"""The identity service with two replicas: access, unique names, encrypted data, the last administrator."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from bson import json_util

from contracts.errors import RequestRejected
from contracts.identity import (
    Access,
    ChangeEmail,
    ChangePassword,
    ChangeRoles,
    DeleteUser,
    GetAccess,
    GetOwner,
    GetUser,
    GetVerificationKeys,
    ListUsers,
    ListUsersPage,
    LogIn,
    RegisterUser,
    RenameUser,
    RotateSigningKeys,
    Session,
    SetUserEnabled,
    Users,
    UserView,
    VerificationKeys,
)
from contracts.messages import Command, CommandReply, Page
from contracts.paging import Filter
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from libs.security.tokens import InvalidToken, verify_token
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import Service
from services.identity.app import service as identity
from services.projects.app import service as projects
from tests.support.in_process.service_stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import WITHIN_SECONDS, eventually

ADMIN, DEVELOPER = "ROLE_ADMIN", "ROLE_DEVELOPER"
PASSWORD = "millwheel-7"
ROOT = Actor(1, "root", (ADMIN,))


@pytest.fixture(scope="module")
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, admin_username="root", admin_password=PASSWORD) as stage:
        await stage.migrate(identity, projects, Service("builds", categories=()))
        async with stage.running(lambda: identity, replicas=2):
            yield stage


@pytest.fixture(scope="module")
async def caller(stage: ServiceStage) -> AsyncIterator[MessageClient]:
    async with stage.connected() as bus:
        yield MessageClient(bus)


async def send_for_id(caller: MessageClient, command: Command) -> int:
    return int(CommandReply.model_validate_json(await caller.send(command, actor=ROOT)).row["id"])


async def register_user(caller: MessageClient, username: str, *roles: str, email: str | None = None) -> int:
    return await send_for_id(caller, RegisterUser(username=username, password=PASSWORD, email=email, roles=roles))


async def get_access(caller: MessageClient, user_id: int) -> Access:
    return Access.model_validate_json(await caller.query(GetAccess(user_id=user_id)))


async def get_user(caller: MessageClient, user_id: int) -> UserView:
    return UserView.model_validate_json(await caller.query(GetUser(user_id=user_id)))


async def log_in(caller: MessageClient, username: str, password: str = PASSWORD) -> Session:
    return Session.model_validate_json(await caller.send(LogIn(username=username, password=password)))


async def get_error_code(caller: MessageClient, command: Command) -> str:
    with pytest.raises(RequestRejected) as refused:
        await caller.send(command)
    return refused.value.code


async def dump_database(stage: ServiceStage) -> str:
    async with create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "identity")
        names = await database.list_collection_names()
        return json_util.dumps([await database[name].find().to_list() for name in names])


async def test_an_access_token_carries_user_and_roles_and_is_verified_with_the_public_keys(
    caller: MessageClient,
) -> None:
    user_id = await register_user(caller, "token-owner", ADMIN, DEVELOPER)
    session = await log_in(caller, "Token-Owner")
    keys = VerificationKeys.model_validate_json(await caller.query(GetVerificationKeys())).keys
    claims = verify_token(session.access_token, keys)
    assert len(keys) == 1
    assert (claims.user_id, claims.username, claims.roles) == (user_id, "token-owner", (ADMIN, DEVELOPER))
    assert claims.epoch == (await get_access(caller, user_id)).epoch
    assert session.expires_in == 3600


async def test_a_rotated_signing_key_stays_valid_until_its_tokens_have_expired(
    stage: ServiceStage, caller: MessageClient
) -> None:
    await register_user(caller, "key-owner")
    before = (await log_in(caller, "key-owner")).access_token
    both = VerificationKeys.model_validate_json(await caller.send(RotateSigningKeys())).keys
    after = (await log_in(caller, "key-owner")).access_token
    assert verify_token(before, both).username == verify_token(after, both).username == "key-owner"
    async with create_mongo_client(stage.settings, "test") as client:
        stored = get_database(client, stage.settings, "identity")["signing_keys"]
        await stored.update_one({"_id": 2}, {"$set": {"made_at": datetime.now(UTC) - timedelta(hours=2)}})
        left = VerificationKeys.model_validate_json(await caller.query(GetVerificationKeys())).keys
        assert verify_token(after, left).username == "key-owner"
        with pytest.raises(InvalidToken):
            verify_token(before, left)
        await caller.send(RotateSigningKeys())
        assert [stored_key["_id"] async for stored_key in stored.find(sort=[("_id", 1)])] == [2, 3]


async def test_every_failed_login_returns_the_same_error(caller: MessageClient) -> None:
    user_id = await register_user(caller, "locked-out")
    await caller.send(SetUserEnabled(user_id=user_id, enabled=False))
    for attempt in (
        LogIn(username="unknown", password=PASSWORD),
        LogIn(username="root", password="millwheel-8"),
        LogIn(username="locked-out", password=PASSWORD),
    ):
        with pytest.raises(RequestRejected) as refused:
            await caller.send(attempt)
        assert (refused.value.code, refused.value.failure.status) == ("UNAUTHORIZED", 401)


async def test_users_racing_for_one_username_get_one_winner(caller: MessageClient) -> None:
    names = ("contested", "Contested", "CONTESTED", "conTested")
    registrations = (caller.send(RegisterUser(username=name, password=PASSWORD)) for name in names)
    outcomes = await asyncio.gather(*registrations, return_exceptions=True)
    codes = [outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)]
    assert codes == ["DEVELOPER_USERNAME_TAKEN"] * 3


async def test_emails_are_unique_regardless_of_case(caller: MessageClient) -> None:
    await register_user(caller, "mail-1", email="mail@example.org")
    other = await register_user(caller, "mail-2")
    command = ChangeEmail(user_id=other, email="MAIL@example.org")
    assert await get_error_code(caller, command) == "DEVELOPER_EMAIL_TAKEN"


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (RegisterUser(password=PASSWORD), "DEVELOPER_USERNAME_REQUIRED"),
        (RegisterUser(username="x"), "DEVELOPER_PASSWORD_REQUIRED"),
        (RegisterUser(username="x", password="short"), "DEVELOPER_PASSWORD_WEAK"),
        (RegisterUser(username="olga-long", password="OLGA-LONG-1"), "DEVELOPER_PASSWORD_WEAK"),
        (RegisterUser(username="x").replace(password="x" * 1025), "REQUEST_INVALID"),
        (RegisterUser(password=PASSWORD).replace(username="x" * 256), "REQUEST_INVALID"),
        (ChangePassword(user_id=10**30, password=PASSWORD), "DEVELOPER_NOT_FOUND"),
        (RenameUser(user_id=0, username="x"), "DEVELOPER_NOT_FOUND"),
        (DeleteUser(user_id=10**6), "DEVELOPER_NOT_FOUND"),
    ],
)
async def test_invalid_input_is_rejected_with_its_error_code(
    caller: MessageClient, command: Command, code: str
) -> None:
    assert await get_error_code(caller, command) == code


async def test_every_change_of_access_increments_the_epoch(caller: MessageClient) -> None:
    user_id = await register_user(caller, "epochs")
    await caller.send(ChangePassword(user_id=user_id, password="millwheel-9"))
    await caller.send(ChangeRoles(user_id=user_id, roles=(DEVELOPER,)))
    await caller.send(SetUserEnabled(user_id=user_id, enabled=False))
    now = await get_access(caller, user_id)
    assert (now.epoch, now.enabled, now.roles) == (3, False, (DEVELOPER,))
    await caller.send(SetUserEnabled(user_id=user_id, enabled=True))
    await log_in(caller, "epochs", "millwheel-9")


async def test_a_former_username_can_be_taken_at_once(caller: MessageClient) -> None:
    user_id = await register_user(caller, "former")
    await caller.send(RenameUser(user_id=user_id, username="latter"))
    other = await register_user(caller, "former")
    assert (await get_user(caller, user_id)).username == "latter"
    assert (await get_user(caller, other)).username == "former"


async def test_passwords_and_personal_data_are_encrypted_in_the_event_log(
    stage: ServiceStage, caller: MessageClient
) -> None:
    user_id = await register_user(caller, "discreet", email="canary@example.org")
    async with create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "identity")
        log = json_util.dumps(await database["commits"].find({"stream": f"user-{user_id}"}).to_list())
    everything = await dump_database(stage)
    assert "canary@example.org" not in log
    assert "canary@example.org" in everything  # the row contains the address and is deleted with the user
    assert PASSWORD not in everything
    assert "$argon2id$" not in everything


async def test_deleting_a_user_erases_personal_data_and_releases_name_and_email(
    stage: ServiceStage, caller: MessageClient
) -> None:
    user_id = await register_user(caller, "forgotten", email="forgotten@example.org")
    await caller.send(DeleteUser(user_id=user_id))
    async with create_mongo_client(stage.settings, "test") as client:
        keys = get_database(client, stage.settings, "identity")["data_keys"]
        await eventually(lambda: keys.find_one({"_id": f"user-{user_id}"}), lambda key: key is None)
    assert "forgotten@example.org" not in await dump_database(stage)
    with pytest.raises(RequestRejected, match="DEVELOPER_NOT_FOUND"):
        await get_access(caller, user_id)
    await register_user(caller, "forgotten", email="forgotten@example.org")


async def test_users_are_listed_found_and_paged(caller: MessageClient) -> None:
    first = await register_user(caller, "Listed.One", DEVELOPER, email="one@listed.example")
    second = await register_user(caller, "listed.two", ADMIN)
    users = Users.model_validate_json(await caller.query(ListUsers(user_ids=(second, first)))).users
    assert [listed_user.id for listed_user in users] == sorted((first, second))
    all_users = Page.model_validate_json(await caller.query(ListUsers())).rows
    assert {first, second} <= {listed_user["id"] for listed_user in all_users}
    found = UserView.model_validate_json(await caller.query(GetUser(username="LISTED.ONE")))
    assert (found.id, found.email, found.projects_id) == (first, "one@listed.example", ())
    assert isinstance(found.created_at, datetime)
    with pytest.raises(RequestRejected, match="DEVELOPER_NOT_FOUND"):
        await caller.query(ListUsers(user_ids=(first, 10**30)))
    with pytest.raises(RequestRejected, match="DEVELOPER_NOT_FOUND"):
        await caller.query(GetOwner(alias="listed"))
    named = Filter(column="user_username", operator="contains", values=("LISTED.",))
    query = ListUsersPage(filters=(named,), sort_by="user_username", limit=1, counted=True)
    page = Page.model_validate_json(await caller.query(query))
    assert page.replace(next=None) == Page(
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
    rest = Page.model_validate_json(await caller.query(query.replace(after=page.next)))
    assert ([row["developer_id"] for row in rest.rows], rest.total, rest.next) == ([first], 2, None)
    await caller.send(DeleteUser(user_id=second))


async def test_administrators_who_remove_each_other_concurrently_leave_one(caller: MessageClient) -> None:
    for attempt in range(5):
        ids = [await register_user(caller, f"rival-{attempt}-{number}", ADMIN) for number in range(3)]
        root = UserView.model_validate_json(await caller.query(GetUser(username="root"))).id
        removals = (
            DeleteUser(user_id=root) if attempt == 4 else SetUserEnabled(user_id=root, enabled=False),
            ChangeRoles(user_id=ids[0], roles=()),
            SetUserEnabled(user_id=ids[1], enabled=False),
            DeleteUser(user_id=ids[2]),
        )
        outcomes = await asyncio.gather(*(caller.send(removal) for removal in removals), return_exceptions=True)
        codes = {outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)}
        left = Page.model_validate_json(await caller.query(ListUsers())).rows
        assert [listed_user for listed_user in left if listed_user["enabled"] and ADMIN in listed_user["roles"]], (
            outcomes
        )
        assert codes <= {"CONFLICT", "DEVELOPER_LAST_ADMINISTRATOR"}
        assert [outcome for outcome in outcomes if isinstance(outcome, bytes)]


async def test_a_log_in_is_accepted_on_its_subject_as_a_query_of_the_previous_release(
    stage: ServiceStage, caller: MessageClient
) -> None:
    await register_user(caller, "logs-in-by-query")
    body = LogIn(username="logs-in-by-query", password=PASSWORD).model_dump_json().encode()
    async with stage.connected() as bus:
        reply = await bus.request("qry.identity.LogIn", body, timeout=WITHIN_SECONDS)
    assert Session.model_validate_json(reply.data).access_token
