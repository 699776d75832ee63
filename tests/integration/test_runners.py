"""Runners on a real database: registration, tokens, presence, with two replicas of the service."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from bson import json_util
from opentelemetry.metrics import NoOpMeterProvider

from contracts.errors import Refused
from contracts.heartbeat import Heartbeat
from contracts.messages import Command, Done, Page, Query
from contracts.runners import (
    DeleteRunner,
    EditRunner,
    GetRegistrationInfo,
    GetRunner,
    ListRunners,
    NoticeRunner,
    RegisterRunner,
    RegistrationInfo,
    ResetRegistrationToken,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
    ShutDownRunner,
    TouchRunner,
)
from libs.clock import Clock, now
from libs.connections import database_of, mongo, vault_of
from libs.messaging import COMMAND_ID, REPEATABLE, Caller
from libs.observability.metrics import Metrics
from libs.runtime import Runtime
from libs.service import Service
from libs.settings import Settings
from services.runners.app import declare
from services.runners.policies import dissolve
from tests.integration.stage import Stage, empty_stage
from tests.support.servers import Servers

LINUX = RunnerInfo(version="17.0", platform="linux", architecture="amd64")


@dataclass(frozen=True)
class Replica:
    """One process' worth of the service, asked as if over the wire."""

    runtime: Runtime

    async def request(self, message: Command | Query, headers: dict[str, str] | None = None) -> bytes:
        return await self.runtime.respond(type(message), message.model_dump_json().encode(), headers or {})

    async def done(self, command: Command) -> Done:
        return Done.model_validate_json(await self.request(command))

    async def start(self) -> None:
        service = self.runtime.service
        assert service.started
        await service.started(self.runtime.duty("start"))

    async def tick(self, name: str) -> None:
        (ticker,) = (one for one in self.runtime.service.tickers if one.name == name)
        await ticker.run(self.runtime.duty(ticker.name))

    async def registration_token(self, scope: str = "service") -> str:
        answer = await self.request(GetRegistrationInfo(scope=scope))
        return RegistrationInfo.model_validate_json(answer).registration_token

    async def register(self, **settings: Any) -> RunnerRegistration:
        settings = {"registration_token": await self.registration_token(), "name": "Gloin"} | settings
        return RunnerRegistration.model_validate_json(await self.request(RegisterRunner(**settings)))

    async def touch(self, token: str, ip_address: str = "10.0.0.1") -> RunnerProfile:
        command = TouchRunner(token=token, ip_address=ip_address, info=LINUX)
        return RunnerProfile.model_validate_json(await self.request(command))

    async def view(self, uuid: str) -> RunnerView:
        return RunnerView.model_validate_json(await self.request(GetRunner(runner_uuid=uuid)))

    async def page(self, **wish: Any) -> Page:
        return Page.model_validate_json(await self.request(ListRunners(**wish)))

    async def presence(self, uuid: str) -> dict[str, Any] | None:
        found: dict[str, Any] | None = await self.runtime.database["presence"].find_one({"_id": uuid})
        return found


@pytest.fixture
async def stage(servers: Servers) -> AsyncIterator[Stage]:
    async with empty_stage(servers, runner_offline_seconds=0.4) as stage:
        await stage.migrate(Service("identity", categories=()), Service("projects", categories=()), declare())
        yield stage


@pytest.fixture
async def replicas(stage: Stage) -> AsyncIterator[tuple[Replica, Replica]]:
    metrics = Metrics.made_from(NoOpMeterProvider().get_meter("test"))
    async with stage.connected() as bus, mongo(stage.settings, "test") as client:
        database = database_of(client, stage.settings, "runners")
        vault = vault_of(database, stage.settings)
        one, two = (Replica(Runtime(declare(), stage.settings, database, bus, vault, metrics)) for _ in range(2))
        yield one, two


@pytest.fixture
def replica(replicas: tuple[Replica, Replica]) -> Replica:
    return replicas[0]


async def everything_stored(replica: Replica) -> str:
    database = replica.runtime.database
    documents = [await database[name].find().to_list() for name in await database.list_collection_names()]
    return json_util.dumps(documents)


async def refusal(replica: Replica, message: Command | Query) -> str:
    with pytest.raises(Refused) as refused:
        await replica.request(message)
    return refused.value.code


# ---- registration


async def test_a_registered_runner_can_call_with_its_token(replica: Replica) -> None:
    registration = await replica.register(tags=("docker",), max_timeout_seconds=100)
    profile = await replica.touch(registration.token)
    assert (profile.runner_id, profile.runner_uuid) == (registration.id, registration.uuid)
    assert (profile.name, profile.tags, profile.owner_type) == ("Gloin", ("docker",), "GLOBAL")


async def test_the_tokens_are_nowhere_in_clear(replica: Replica) -> None:
    registration = await replica.register()
    stored = await everything_stored(replica)
    assert registration.uuid in stored
    assert registration.token not in stored
    assert await replica.registration_token() not in stored


async def test_the_first_registration_token_may_be_given_and_is_replaced_like_any_other(stage: Stage) -> None:
    given = replace(stage.settings, registration_token="from-a-secret")
    async with stage.connected() as bus, mongo(given, "test") as client:
        database = database_of(client, given, "runners")
        metrics = Metrics.made_from(NoOpMeterProvider().get_meter("test"))
        replica = Replica(Runtime(declare(), given, database, bus, vault_of(database, given), metrics))
        await replica.start()
        assert await replica.registration_token() == "from-a-secret"
        assert await replica.registration_token("company-4") != "from-a-secret"
        await replica.request(ResetRegistrationToken(scope="service"))
        await replica.start()
        assert await replica.registration_token() != "from-a-secret"


async def test_a_wrong_registration_token_makes_no_runner(replica: Replica) -> None:
    assert await refusal(replica, RegisterRunner(registration_token="guessed")) == "REGISTRATION_TOKEN"
    assert (await replica.page()).total == 0


async def test_a_runner_without_a_name_is_called_after_its_description(replica: Replica) -> None:
    registration = await replica.register(name="", description="Agent of a company")
    assert (await replica.view(registration.uuid)).name == "Agent of a company"


async def test_of_a_long_description_the_start_is_the_name(replica: Replica) -> None:
    registration = await replica.register(name="", description="d" * 300)
    assert (await replica.view(registration.uuid)).name == "d" * 255


async def test_a_runner_without_name_and_description_gets_a_name(replica: Replica) -> None:
    registration = await replica.register(name="")
    assert (await replica.view(registration.uuid)).name == f"runner {registration.uuid[:8]}"


async def test_the_scope_of_the_token_owns_the_runner(replica: Replica) -> None:
    registration = await replica.register(registration_token=await replica.registration_token("project-84"))
    view = await replica.view(registration.uuid)
    assert (view.owner_type, view.owner_id) == ("PROJECT", 84)


async def test_replicas_that_start_at_once_agree_on_the_token(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    await asyncio.gather(one.start(), two.start())
    assert await one.registration_token() == await two.registration_token()


async def test_the_first_questions_for_a_scope_get_the_same_token(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    first, second = await asyncio.gather(one.registration_token("company-4"), two.registration_token("company-4"))
    assert first == second


async def test_after_a_reset_the_old_token_registers_nobody(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    old, runner = await one.registration_token(), await one.register()
    await one.done(ResetRegistrationToken(scope="service"))
    assert await refusal(two, RegisterRunner(registration_token=old, name="late")) == "REGISTRATION_TOKEN"
    assert (await two.register()).id != runner.id
    assert (await two.touch(runner.token)).runner_id == runner.id


async def test_a_repeated_registration_meets_the_same_runner(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    command = RegisterRunner(registration_token=await one.registration_token(), name="Gloin")
    repeatable = {COMMAND_ID: str(uuid4()), REPEATABLE: "1"}
    first = RunnerRegistration.model_validate_json(await one.request(command, repeatable))
    second = RunnerRegistration.model_validate_json(await two.request(command, repeatable))
    assert first == second
    assert (await one.touch(first.token)).runner_id == first.id
    assert (await one.page()).total == 1


@pytest.mark.parametrize("project_id", range(1, 6))
async def test_no_runner_comes_after_its_project_has_gone(replicas: tuple[Replica, Replica], project_id: int) -> None:
    one, two = replicas
    scope = f"project-{project_id}"
    command = RegisterRunner(registration_token=await one.registration_token(scope), name="late")
    await asyncio.gather(
        *(replica.request(command) for replica in replicas * 2),
        dissolve(two.runtime.duty("dissolve"), scope),
        return_exceptions=True,
    )
    assert (await one.page(owner_type="PROJECT", owner_id=project_id)).total == 0
    assert await refusal(one, command) == "REGISTRATION_TOKEN"
    assert await refusal(two, GetRegistrationInfo(scope=scope)) == "PROJECT_NOT_FOUND"
    assert await refusal(two, ResetRegistrationToken(scope=scope)) == "PROJECT_NOT_FOUND"


# ---- tokens and settings


async def test_an_unknown_token_is_refused(replica: Replica) -> None:
    assert await refusal(replica, TouchRunner(token="guessed")) == "RUNNER_TOKEN"


async def test_a_new_token_makes_the_old_one_void(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    runner = await one.register()
    answer = await one.request(ResetRunnerToken(runner_uuid=runner.uuid))
    fresh = RunnerRegistration.model_validate_json(answer)
    assert await refusal(two, TouchRunner(token=runner.token)) == "RUNNER_TOKEN"
    assert (await two.touch(fresh.token)).runner_id == fresh.id == runner.id


async def test_an_edit_counts_at_once_on_every_replica(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    runner = await one.register(tags=("old",))
    await two.touch(runner.token)
    await one.done(EditRunner(runner_uuid=runner.uuid, tags=("new",)))
    assert (await two.touch(runner.token)).tags == ("new",)


async def test_a_shut_down_runner_still_may_call(replica: Replica) -> None:
    runner = await replica.register()
    await replica.done(ShutDownRunner(runner_uuid=runner.uuid))
    assert not (await replica.touch(runner.token)).active


async def test_a_deleted_runner_is_gone_at_once_on_every_replica(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    runner = await one.register()
    await two.touch(runner.token)
    await one.done(DeleteRunner(runner_uuid=runner.uuid))
    assert await refusal(two, TouchRunner(token=runner.token)) == "RUNNER_TOKEN"
    assert await refusal(two, GetRunner(runner_uuid=runner.uuid)) == "RUNNER_NOT_FOUND"
    assert (await two.page()).total == 0


async def test_of_a_deleted_runner_no_presence_is_kept(replica: Replica) -> None:
    runner = await replica.register()
    await replica.touch(runner.token)
    await replica.tick("sweep")
    assert await replica.presence(runner.uuid)
    await replica.done(DeleteRunner(runner_uuid=runner.uuid))
    await replica.tick("sweep")
    assert await replica.presence(runner.uuid) is None


# ---- presence


async def test_a_runner_is_online_from_its_first_call(replica: Replica) -> None:
    runner = await replica.register()
    assert not (await replica.view(runner.uuid)).online
    await replica.touch(runner.token)
    assert (await replica.view(runner.uuid)).online


async def test_a_silent_runner_goes_offline_and_comes_back(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    runner = await one.register()
    await one.touch(runner.token)
    async with asyncio.timeout(20):
        while (await one.view(runner.uuid)).online:
            await two.tick("presence")
    await one.touch(runner.token)
    assert (await two.view(runner.uuid)).online


@dataclass
class Hours:
    """A clock that the test sets."""

    second: float = 0.0
    start: datetime = field(default_factory=now)

    def clock(self) -> Clock:
        return Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)


async def test_runners_stay_online_while_their_gateway_is_cut_off(replica: Replica) -> None:
    hours = Hours()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings(runner_offline_seconds=60)
    runner = await replica.register()
    beat = Heartbeat(to="runners", gateway="gateway-0").model_dump_json().encode()

    async def pass_to(second: int, *, reachable: bool) -> None:
        while hours.second < second:
            hours.second += 3
            if reachable:
                await replica.runtime.hear(beat, {})
                await replica.touch(runner.token)
            await replica.tick("presence")

    await pass_to(90, reachable=True)
    await pass_to(90 + 75, reachable=False)
    await pass_to(300, reachable=True)
    told = [one.event.wire_name for one in await replica.runtime.store.read(f"runner-{runner.uuid}")]
    assert "RunnerOffline" not in told
    await pass_to(300 + 150, reachable=False)  # the gateway and the runner are gone for good
    assert not (await replica.view(runner.uuid)).online


async def test_runners_stay_online_after_an_outage_of_the_service(replica: Replica) -> None:
    hours = Hours()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings(runner_offline_seconds=60)
    runner = await replica.register()
    await replica.touch(runner.token)
    await replica.tick("presence")
    hours.second += 600
    await replica.tick("presence")
    await replica.touch(runner.token)
    hours.second += 3
    await replica.tick("presence")
    told = [one.event.wire_name for one in await replica.runtime.store.read(f"runner-{runner.uuid}")]
    assert "RunnerOffline" not in told


async def test_a_runner_that_calls_another_replica_stays_online(replicas: tuple[Replica, Replica]) -> None:
    one, two = replicas
    one.runtime.settings = two.runtime.settings = Settings(runner_offline_seconds=2)
    runner = await one.register()
    await one.touch(runner.token)
    started = now()
    async with asyncio.timeout(20):
        while now() - started < timedelta(seconds=2.5):
            await two.request(NoticeRunner(runner_uuid=runner.uuid))
            await one.tick("presence")
    assert (await one.view(runner.uuid)).online
    versions = await one.runtime.store.read(f"runner-{runner.uuid}")
    told = [recorded.event.wire_name for recorded in versions]
    assert told == ["RunnerRegistered", "RunnerOnline", "RunnerInfoChanged"]  # what it first says of itself, once


async def test_calls_within_moments_are_one_write(replica: Replica) -> None:
    replica.runtime.settings = Settings()  # a pause of five seconds
    runner = await replica.register()
    await replica.touch(runner.token, "10.0.0.1")
    await replica.touch(runner.token, "10.0.0.2")
    seen = await replica.presence(runner.uuid)
    assert seen
    assert seen["ip_address"] == "10.0.0.1"


async def test_what_was_seen_of_many_runners_is_written_together(replica: Replica) -> None:
    replica.runtime.settings = Settings(runner_offline_seconds=1)  # a pause of a quarter of a second
    runners = [await replica.register() for _ in range(3)]
    tokens = [one.token for one in runners]
    await asyncio.gather(*map(replica.touch, tokens))
    database = replica.runtime.database
    await database.command("profile", 2)
    started = now()
    async with asyncio.timeout(20):
        while now() - started < timedelta(seconds=1):
            await asyncio.gather(*map(replica.touch, tokens))
    pauses = (now() - started) / timedelta(seconds=0.25)  # more than four where the machine is busy
    await database.command("profile", 0)
    writes = await database["system.profile"].find({"ns": f"{database.name}.presence", "op": "update"}).to_list()
    assert 3 <= len(writes) <= 3 * (pauses + 1)  # each runner at most once in a pause


async def test_a_whole_service_tells_the_world_who_comes_and_goes(stage: Stage) -> None:
    async with stage.running(declare, replicas=2), stage.connected() as bus:
        caller = Caller(bus)
        info = RegistrationInfo.model_validate_json(await caller.ask(GetRegistrationInfo()))
        command = RegisterRunner(registration_token=info.registration_token, name="Gloin")
        runner = RunnerRegistration.model_validate_json(await caller.tell(command))
        await caller.tell(TouchRunner(token=runner.token))
        events = await bus.jetstream().subscribe(f"evt.runners.runner-{runner.uuid}.*", ordered_consumer=True)
        subjects = [(await events.next_msg(20)).subject for _ in range(3)]
    names = ["RunnerRegistered", "RunnerOnline", "RunnerOffline"]
    assert subjects == [f"evt.runners.runner-{runner.uuid}.{name}" for name in names]


async def test_another_service_can_notice_a_runner(replica: Replica) -> None:
    runner = await replica.register()
    answer = await replica.done(NoticeRunner(runner_uuid=runner.uuid, ip_address="10.0.0.3"))
    assert answer.row["runner_id"] == runner.id
    assert ((await replica.view(runner.uuid)).online, (await replica.view(runner.uuid)).ip_address) == (
        True,
        "10.0.0.3",
    )
    assert await refusal(replica, NoticeRunner(runner_uuid="unknown")) == "RUNNER_NOT_FOUND"


async def test_the_last_contact_is_merged_into_the_view(replica: Replica) -> None:
    runner = await replica.register(ip_address="10.0.0.9")
    assert (await replica.view(runner.uuid)).ip_address == "10.0.0.9"
    await replica.touch(runner.token)
    view = await replica.view(runner.uuid)
    assert (view.ip_address, view.info) == ("10.0.0.1", LINUX)
    assert view.connected_at > view.registered_at


async def test_where_a_runner_is_seen_is_in_no_event_and_is_forgotten_with_it(replica: Replica) -> None:
    runner = await replica.register(ip_address="10.0.0.9")
    await replica.touch(runner.token, "10.0.0.9")
    logged = await replica.runtime.database["commits"].find({"stream": f"runner-{runner.uuid}"}).to_list()
    assert "RunnerRegistered" in str(logged)
    assert "10.0.0.9" not in str(logged)
    await replica.done(DeleteRunner(runner_uuid=runner.uuid))
    await replica.tick("sweep")
    assert await replica.presence(runner.uuid) is None


async def test_runners_are_listed_by_their_last_contact(replica: Replica) -> None:
    first, second = await replica.register(name="first"), await replica.register(name="second")
    assert [row["id"] for row in (await replica.page()).rows] == [second.id, first.id]
    await replica.touch(first.token)
    page = await replica.page(size=1)
    assert ([row["id"] for row in page.rows], page.total) == ([first.id], 2)
    assert [row["id"] for row in (await replica.page(size=1, page=1)).rows] == [second.id]
    assert (await replica.page(page=9)).rows == ()


async def test_runners_of_one_owner_are_listed(replica: Replica) -> None:
    await replica.register()
    ours = await replica.register(registration_token=await replica.registration_token("company-4"))
    page = await replica.page(owner_type="COMPANY", owner_id=4)
    assert [row["uuid"] for row in page.rows] == [ours.uuid]
    assert (await replica.page(owner_type="COMPANY", owner_id=5)).total == 0


async def test_a_list_shows_no_token_hash(replica: Replica) -> None:
    await replica.register()
    (row,) = (await replica.page()).rows
    assert "token_hash" not in row


async def test_runners_have_numbers_too(replica: Replica) -> None:
    runner = await replica.register()
    answer = await replica.request(GetRunner(runner_id=runner.id))
    assert RunnerView.model_validate_json(answer).uuid == runner.uuid
    assert await refusal(replica, GetRunner(runner_id=runner.id + 99)) == "RUNNER_NOT_FOUND"
