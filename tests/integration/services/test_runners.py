"""The runners service on a real database with two replicas: registration, tokens and heartbeats."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import json_util
from opentelemetry.metrics import NoOpMeterProvider

from contracts.errors import RequestRejected
from contracts.heartbeat import Heartbeat
from contracts.messages import Command, CommandReply, Page, Query
from contracts.runners import (
    AuthenticateRunner,
    DeleteRunner,
    EditRunner,
    GetRegistrationInfo,
    GetRunner,
    ListRunners,
    PauseRunner,
    RecordRunnerHeartbeat,
    RegisterRunner,
    RegistrationInfo,
    ResetRegistrationToken,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
)
from libs.clock import Clock, now
from libs.messaging.request_reply import COMMAND_ID_HEADER, MAY_BE_DUPLICATE_HEADER, MessageClient
from libs.observability.metrics import Metrics
from libs.service.connections import create_mongo_client, create_vault, get_database
from libs.service.declaration import Service
from libs.service.runtime import Runtime
from libs.settings import Settings
from services.runners.app import create_service
from services.runners.workers import delete_scope
from tests.support.in_process.stage import ServiceStage, empty_stage
from tests.support.infrastructure.servers import Servers

LINUX_INFO = RunnerInfo(version="17.0", platform="linux", architecture="amd64")


@dataclass(frozen=True)
class Replica:
    """One replica of the service, called directly with message bodies as if over NATS."""

    runtime: Runtime

    async def request(self, message: Command | Query, headers: dict[str, str] | None = None) -> bytes:
        return await self.runtime.respond(type(message), message.model_dump_json().encode(), headers or {})

    async def send(self, command: Command) -> CommandReply:
        return CommandReply.model_validate_json(await self.request(command))

    async def start(self) -> None:
        service = self.runtime.service
        assert service.on_start
        await service.on_start(self.runtime.background_context("start"))

    async def run_periodic_task(self, name: str) -> None:
        (ticker,) = (task for task in self.runtime.service.periodic_tasks if task.name == name)
        await ticker.run(self.runtime.background_context(ticker.name))

    async def registration_token(self, scope: str = "service") -> str:
        answer = await self.request(GetRegistrationInfo(scope=scope))
        return RegistrationInfo.model_validate_json(answer).registration_token

    async def register(self, **settings: Any) -> RunnerRegistration:
        settings = {"registration_token": await self.registration_token(), "name": "Gloin"} | settings
        return RunnerRegistration.model_validate_json(await self.request(RegisterRunner(**settings)))

    async def touch(self, token: str, ip_address: str = "10.0.0.1") -> RunnerProfile:
        command = AuthenticateRunner(token=token, ip_address=ip_address, info=LINUX_INFO)
        return RunnerProfile.model_validate_json(await self.request(command))

    async def get_view(self, uuid: str) -> RunnerView:
        return RunnerView.model_validate_json(await self.request(GetRunner(runner_uuid=uuid)))

    async def list_runners(self, **query: Any) -> Page:
        return Page.model_validate_json(await self.request(ListRunners(**query)))

    async def find_presence(self, uuid: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self.runtime.database["presence"].find_one({"_id": uuid})
        return found


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[ServiceStage]:
    async with empty_stage(servers, runner_offline_seconds=0.4) as stage:
        await stage.migrate(Service("identity", categories=()), Service("projects", categories=()), create_service())
        yield stage


@pytest.fixture
async def replicas(stage: ServiceStage) -> AsyncIterator[tuple[Replica, Replica]]:
    metrics = Metrics.create(NoOpMeterProvider().get_meter("test"))
    async with stage.connected() as bus, create_mongo_client(stage.settings, "test") as client:
        database = get_database(client, stage.settings, "runners")
        vault = create_vault(database, stage.settings)
        first, two = (
            Replica(Runtime(create_service(), stage.settings, database, bus, vault, metrics)) for _ in range(2)
        )
        yield first, two


@pytest.fixture
def replica(replicas: tuple[Replica, Replica]) -> Replica:
    return replicas[0]


async def dump_database(replica: Replica) -> str:
    database = replica.runtime.database
    documents = [await database[name].find().to_list() for name in await database.list_collection_names()]
    return json_util.dumps(documents)


async def get_error_code(replica: Replica, message: Command | Query) -> str:
    with pytest.raises(RequestRejected) as refused:
        await replica.request(message)
    return refused.value.code


# ---- registration


async def test_a_registered_runner_authenticates_with_its_token(replica: Replica) -> None:
    registration = await replica.register(tags=("docker",), max_timeout_seconds=100)
    profile = await replica.touch(registration.token)
    assert (profile.runner_id, profile.runner_uuid) == (registration.id, registration.uuid)
    assert (profile.name, profile.tags, profile.owner_type) == ("Gloin", ("docker",), "GLOBAL")


async def test_runner_and_registration_tokens_are_not_stored_in_clear(replica: Replica) -> None:
    registration = await replica.register()
    stored = await dump_database(replica)
    assert registration.uuid in stored
    assert registration.token not in stored
    assert await replica.registration_token() not in stored


async def test_the_initial_registration_token_can_be_configured_and_is_replaced_by_a_reset(stage: ServiceStage) -> None:
    own_settings = replace(stage.settings, registration_token="from-a-secret")
    async with stage.connected() as bus, create_mongo_client(own_settings, "test") as client:
        database = get_database(client, own_settings, "runners")
        metrics = Metrics.create(NoOpMeterProvider().get_meter("test"))
        replica = Replica(
            Runtime(create_service(), own_settings, database, bus, create_vault(database, own_settings), metrics)
        )
        await replica.start()
        assert await replica.registration_token() == "from-a-secret"
        assert await replica.registration_token("company-4") != "from-a-secret"
        await replica.request(ResetRegistrationToken(scope="service"))
        await replica.start()
        assert await replica.registration_token() != "from-a-secret"


async def test_a_wrong_registration_token_registers_no_runner(replica: Replica) -> None:
    assert await get_error_code(replica, RegisterRunner(registration_token="guessed")) == "REGISTRATION_TOKEN"
    assert (await replica.list_runners()).total == 0


async def test_a_runner_without_a_name_is_named_by_its_description(replica: Replica) -> None:
    registration = await replica.register(name="", description="Agent of a company")
    assert (await replica.get_view(registration.uuid)).name == "Agent of a company"


async def test_a_name_taken_from_a_long_description_is_truncated(replica: Replica) -> None:
    registration = await replica.register(name="", description="d" * 300)
    assert (await replica.get_view(registration.uuid)).name == "d" * 255


async def test_a_runner_without_name_and_description_gets_a_generated_name(replica: Replica) -> None:
    registration = await replica.register(name="")
    assert (await replica.get_view(registration.uuid)).name == f"runner {registration.uuid[:8]}"


async def test_the_scope_of_the_registration_token_owns_the_runner(replica: Replica) -> None:
    registration = await replica.register(registration_token=await replica.registration_token("project-84"))
    view = await replica.get_view(registration.uuid)
    assert (view.owner_type, view.owner_id) == ("PROJECT", 84)


async def test_replicas_that_start_concurrently_share_one_registration_token(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    await asyncio.gather(first.start(), two.start())
    assert await first.registration_token() == await two.registration_token()


async def test_concurrent_first_queries_for_a_scope_get_the_same_token(replicas: tuple[Replica, Replica]) -> None:
    first_replica, two = replicas
    first, second = await asyncio.gather(
        first_replica.registration_token("company-4"), two.registration_token("company-4")
    )
    assert first == second


async def test_after_a_reset_the_old_registration_token_is_rejected(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    old, runner = await first.registration_token(), await first.register()
    await first.send(ResetRegistrationToken(scope="service"))
    assert await get_error_code(two, RegisterRunner(registration_token=old, name="late")) == "REGISTRATION_TOKEN"
    assert (await two.register()).id != runner.id
    assert (await two.touch(runner.token)).runner_id == runner.id


async def test_a_repeated_registration_returns_the_same_runner(replicas: tuple[Replica, Replica]) -> None:
    first_replica, two = replicas
    command = RegisterRunner(registration_token=await first_replica.registration_token(), name="Gloin")
    repeatable = {COMMAND_ID_HEADER: str(uuid4()), MAY_BE_DUPLICATE_HEADER: "1"}
    first = RunnerRegistration.model_validate_json(await first_replica.request(command, repeatable))
    second = RunnerRegistration.model_validate_json(await two.request(command, repeatable))
    assert first == second
    assert (await first_replica.touch(first.token)).runner_id == first.id
    assert (await first_replica.list_runners()).total == 1


@pytest.mark.parametrize("project_id", range(1, 6))
async def test_no_runner_can_be_registered_for_a_deleted_project(
    replicas: tuple[Replica, Replica], project_id: int
) -> None:
    first, two = replicas
    scope = f"project-{project_id}"
    command = RegisterRunner(registration_token=await first.registration_token(scope), name="late")
    await asyncio.gather(
        *(replica.request(command) for replica in replicas * 2),
        delete_scope(two.runtime.background_context("dissolve"), scope),
        return_exceptions=True,
    )
    assert (await first.list_runners(owner_type="PROJECT", owner_id=project_id)).total == 0
    assert await get_error_code(first, command) == "REGISTRATION_TOKEN"
    assert await get_error_code(two, GetRegistrationInfo(scope=scope)) == "PROJECT_NOT_FOUND"
    assert await get_error_code(two, ResetRegistrationToken(scope=scope)) == "PROJECT_NOT_FOUND"


# ---- tokens and settings


async def test_an_unknown_runner_token_is_rejected(replica: Replica) -> None:
    assert await get_error_code(replica, AuthenticateRunner(token="guessed")) == "RUNNER_TOKEN"


async def test_resetting_a_runner_token_invalidates_the_old_one(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    runner = await first.register()
    answer = await first.request(ResetRunnerToken(runner_uuid=runner.uuid))
    fresh = RunnerRegistration.model_validate_json(answer)
    assert await get_error_code(two, AuthenticateRunner(token=runner.token)) == "RUNNER_TOKEN"
    assert (await two.touch(fresh.token)).runner_id == fresh.id == runner.id


async def test_a_runner_edit_is_visible_at_once_on_every_replica(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    runner = await first.register(tags=("old",))
    await two.touch(runner.token)
    await first.send(EditRunner(runner_uuid=runner.uuid, tags=("new",)))
    assert (await two.touch(runner.token)).tags == ("new",)


async def test_a_paused_runner_can_still_authenticate(replica: Replica) -> None:
    runner = await replica.register()
    await replica.send(PauseRunner(runner_uuid=runner.uuid))
    assert not (await replica.touch(runner.token)).active


async def test_a_deleted_runner_is_rejected_at_once_on_every_replica(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    runner = await first.register()
    await two.touch(runner.token)
    await first.send(DeleteRunner(runner_uuid=runner.uuid))
    assert await get_error_code(two, AuthenticateRunner(token=runner.token)) == "RUNNER_TOKEN"
    assert await get_error_code(two, GetRunner(runner_uuid=runner.uuid)) == "RUNNER_NOT_FOUND"
    assert (await two.list_runners()).total == 0


async def test_the_heartbeats_of_a_deleted_runner_are_purged(replica: Replica) -> None:
    runner = await replica.register()
    await replica.touch(runner.token)
    await replica.run_periodic_task("sweep")
    assert await replica.find_presence(runner.uuid)
    await replica.send(DeleteRunner(runner_uuid=runner.uuid))
    await replica.run_periodic_task("sweep")
    assert await replica.find_presence(runner.uuid) is None


# ---- heartbeats


async def test_a_runner_is_online_after_its_first_call(replica: Replica) -> None:
    runner = await replica.register()
    assert not (await replica.get_view(runner.uuid)).online
    await replica.touch(runner.token)
    assert (await replica.get_view(runner.uuid)).online


async def test_a_silent_runner_goes_offline_and_comes_online_again(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    runner = await first.register()
    await first.touch(runner.token)
    async with asyncio.timeout(20):
        while (await first.get_view(runner.uuid)).online:
            await two.run_periodic_task("presence")
    await first.touch(runner.token)
    assert (await two.get_view(runner.uuid)).online


@dataclass
class ManualClock:
    """A clock that the test moves."""

    second: float = 0.0
    start: datetime = field(default_factory=now)

    def clock(self) -> Clock:
        return Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)


async def test_runners_stay_online_while_their_gateway_is_unreachable(replica: Replica) -> None:
    hours = ManualClock()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings(runner_offline_seconds=60)
    runner = await replica.register()
    beat = Heartbeat(to="runners", gateway="gateway-0").model_dump_json().encode()

    async def pass_to(second: int, *, reachable: bool) -> None:
        while hours.second < second:
            hours.second += 3
            if reachable:
                await replica.runtime.answer_heartbeat(beat, {})
                await replica.touch(runner.token)
            await replica.run_periodic_task("presence")

    await pass_to(90, reachable=True)
    await pass_to(90 + 75, reachable=False)
    await pass_to(300, reachable=True)
    names = [recorded.event.wire_name for recorded in await replica.runtime.store.read(f"runner-{runner.uuid}")]
    assert "RunnerOffline" not in names
    await pass_to(300 + 150, reachable=False)  # gateway and runner do not return
    assert not (await replica.get_view(runner.uuid)).online


async def test_runners_stay_online_over_an_outage_of_the_service(replica: Replica) -> None:
    hours = ManualClock()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings(runner_offline_seconds=60)
    runner = await replica.register()
    await replica.touch(runner.token)
    await replica.run_periodic_task("presence")
    hours.second += 600
    await replica.run_periodic_task("presence")
    await replica.touch(runner.token)
    hours.second += 3
    await replica.run_periodic_task("presence")
    names = [recorded.event.wire_name for recorded in await replica.runtime.store.read(f"runner-{runner.uuid}")]
    assert "RunnerOffline" not in names


async def test_heartbeats_at_another_replica_keep_a_runner_online(replicas: tuple[Replica, Replica]) -> None:
    first, two = replicas
    first.runtime.settings = two.runtime.settings = Settings(runner_offline_seconds=2)
    runner = await first.register()
    await first.touch(runner.token)
    started = now()
    async with asyncio.timeout(20):
        while now() - started < timedelta(seconds=2.5):
            await two.request(RecordRunnerHeartbeat(runner_uuid=runner.uuid))
            await first.run_periodic_task("presence")
    assert (await first.get_view(runner.uuid)).online
    versions = await first.runtime.store.read(f"runner-{runner.uuid}")
    names = [recorded.event.wire_name for recorded in versions]
    # the first info of the runner is recorded once
    assert names == ["RunnerRegistered", "RunnerOnline", "RunnerInfoChanged"]


async def test_heartbeats_in_short_succession_are_written_once(replica: Replica) -> None:
    replica.runtime.settings = Settings()  # a heartbeat is written at most every five seconds
    runner = await replica.register()
    await replica.touch(runner.token, "10.0.0.1")
    await replica.touch(runner.token, "10.0.0.2")
    seen = await replica.find_presence(runner.uuid)
    assert seen
    assert seen["ip_address"] == "10.0.0.1"


async def test_heartbeats_of_each_runner_are_written_once_per_interval(replica: Replica) -> None:
    replica.runtime.settings = Settings(runner_offline_seconds=1)  # a heartbeat is written at most every 250 ms
    runners = [await replica.register() for _ in range(3)]
    tokens = [runner.token for runner in runners]
    await asyncio.gather(*map(replica.touch, tokens))
    database = replica.runtime.database
    await database.command("profile", 2)
    started = now()
    async with asyncio.timeout(20):
        while now() - started < timedelta(seconds=1):
            await asyncio.gather(*map(replica.touch, tokens))
    pauses = (now() - started) / timedelta(seconds=0.25)  # more than four on a busy machine
    await database.command("profile", 0)
    writes = await database["system.profile"].find({"ns": f"{database.name}.presence", "op": "update"}).to_list()
    assert 3 <= len(writes) <= 3 * (pauses + 1)  # at most one write per runner and interval


async def test_the_service_publishes_when_runners_go_online_and_offline(stage: ServiceStage) -> None:
    async with stage.running(create_service, replicas=2), stage.connected() as bus:
        caller = MessageClient(bus)
        info = RegistrationInfo.model_validate_json(await caller.query(GetRegistrationInfo()))
        command = RegisterRunner(registration_token=info.registration_token, name="Gloin")
        runner = RunnerRegistration.model_validate_json(await caller.send(command))
        await caller.send(AuthenticateRunner(token=runner.token))
        events = await bus.jetstream().subscribe(f"evt.runners.runner-{runner.uuid}.*", ordered_consumer=True)
        subjects = [(await events.next_msg(20)).subject for _ in range(3)]
    names = ["RunnerRegistered", "RunnerOnline", "RunnerOffline"]
    assert subjects == [f"evt.runners.runner-{runner.uuid}.{name}" for name in names]


async def test_another_service_can_record_a_heartbeat_of_a_runner(replica: Replica) -> None:
    runner = await replica.register()
    answer = await replica.send(RecordRunnerHeartbeat(runner_uuid=runner.uuid, ip_address="10.0.0.3"))
    assert answer.row["runner_id"] == runner.id
    assert ((await replica.get_view(runner.uuid)).online, (await replica.get_view(runner.uuid)).ip_address) == (
        True,
        "10.0.0.3",
    )
    assert await get_error_code(replica, RecordRunnerHeartbeat(runner_uuid="unknown")) == "RUNNER_NOT_FOUND"


async def test_the_last_contact_is_shown_in_the_view_of_a_runner(replica: Replica) -> None:
    runner = await replica.register(ip_address="10.0.0.9")
    assert (await replica.get_view(runner.uuid)).ip_address == "10.0.0.9"
    await replica.touch(runner.token)
    view = await replica.get_view(runner.uuid)
    assert (view.ip_address, view.info) == ("10.0.0.1", LINUX_INFO)
    assert view.connected_at > view.registered_at


async def test_the_ip_address_of_a_runner_is_in_no_event_and_is_purged_on_deletion(replica: Replica) -> None:
    runner = await replica.register(ip_address="10.0.0.9")
    await replica.touch(runner.token, "10.0.0.9")
    logged = await replica.runtime.database["commits"].find({"stream": f"runner-{runner.uuid}"}).to_list()
    assert "RunnerRegistered" in str(logged)
    assert "10.0.0.9" not in str(logged)
    await replica.send(DeleteRunner(runner_uuid=runner.uuid))
    await replica.run_periodic_task("sweep")
    assert await replica.find_presence(runner.uuid) is None


async def test_runners_are_listed_newest_contact_first(replica: Replica) -> None:
    first, second = await replica.register(name="first"), await replica.register(name="second")
    assert [row["id"] for row in (await replica.list_runners()).rows] == [second.id, first.id]
    await replica.touch(first.token)
    page = await replica.list_runners(size=1)
    assert ([row["id"] for row in page.rows], page.total) == ([first.id], 2)
    assert [row["id"] for row in (await replica.list_runners(size=1, page=1)).rows] == [second.id]
    assert (await replica.list_runners(page=9)).rows == ()


async def test_runners_can_be_listed_by_owner(replica: Replica) -> None:
    await replica.register()
    ours = await replica.register(registration_token=await replica.registration_token("company-4"))
    page = await replica.list_runners(owner_type="COMPANY", owner_id=4)
    assert [row["uuid"] for row in page.rows] == [ours.uuid]
    assert (await replica.list_runners(owner_type="COMPANY", owner_id=5)).total == 0


async def test_a_list_of_runners_contains_no_token_hashes(replica: Replica) -> None:
    await replica.register()
    (row,) = (await replica.list_runners()).rows
    assert "token_hash" not in row


async def test_a_runner_can_be_found_by_its_numeric_id(replica: Replica) -> None:
    runner = await replica.register()
    answer = await replica.request(GetRunner(runner_id=runner.id))
    assert RunnerView.model_validate_json(answer).uuid == runner.uuid
    assert await get_error_code(replica, GetRunner(runner_id=runner.id + 99)) == "RUNNER_NOT_FOUND"
