"""Heartbeats of runners: when a runner is online, how often heartbeats are written, and lists by last contact."""

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from contracts.heartbeat import Heartbeat
from contracts.runners import (
    AuthenticateRunner,
    DeleteRunner,
    GetRunner,
    RecordRunnerHeartbeat,
    RegisterRunner,
    RegistrationInfo,
    RevealRegistrationToken,
    RunnerRegistration,
    RunnerView,
)
from libs.clock import Clock, now
from libs.messaging.request_reply import MessageClient
from libs.settings import Settings
from services.runners.app import create_service
from tests.integration.services.runners.runners_replica import LINUX_INFO, Replica, get_error_code
from tests.support.in_process.service_stage import ServiceStage
from tests.support.waiting import WITHIN_SECONDS


async def test_a_runner_is_online_after_its_first_call(replica: Replica) -> None:
    runner = await replica.register()
    assert not (await replica.get_view(runner.uuid)).online
    await replica.touch(runner.token)
    assert (await replica.get_view(runner.uuid)).online


async def test_a_silent_runner_goes_offline_and_comes_online_again(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    runner = await first.register()
    await first.touch(runner.token)
    async with asyncio.timeout(WITHIN_SECONDS):
        while (await first.get_view(runner.uuid)).online:
            await second.run_periodic_task("offline_detection")
    await first.touch(runner.token)
    assert (await second.get_view(runner.uuid)).online


@dataclass
class ManualClock:
    second: float = 0.0
    start: datetime = field(default_factory=now)

    def clock(self) -> Clock:
        return Clock(lambda: self.start + timedelta(seconds=self.second), lambda: self.second)


async def test_runners_stay_online_while_their_gateway_is_unreachable(replica: Replica) -> None:
    hours = ManualClock()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings(runner_offline_seconds=60)
    runner = await replica.register()
    heartbeat = Heartbeat(to="runners", gateway="gateway-0").model_dump_json().encode()

    async def advance_to(second: int, *, reachable: bool) -> None:
        while hours.second < second:
            hours.second += 3
            if reachable:
                await replica.runtime.answer_heartbeat(heartbeat, {})
                await replica.touch(runner.token)
            await replica.run_periodic_task("offline_detection")

    await advance_to(90, reachable=True)
    await advance_to(90 + 75, reachable=False)
    await advance_to(300, reachable=True)
    names = [recorded.event.wire_name for recorded in await replica.runtime.store.read(f"runner-{runner.uuid}")]
    assert "RunnerOffline" not in names
    await advance_to(300 + 150, reachable=False)  # gateway and runner never return
    assert not (await replica.get_view(runner.uuid)).online


async def test_runners_stay_online_over_an_outage_of_the_service(replica: Replica) -> None:
    hours = ManualClock()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings(runner_offline_seconds=60)
    runner = await replica.register()
    await replica.touch(runner.token)
    await replica.run_periodic_task("offline_detection")
    hours.second += 600
    await replica.run_periodic_task("offline_detection")
    await replica.touch(runner.token)
    hours.second += 3
    await replica.run_periodic_task("offline_detection")
    names = [recorded.event.wire_name for recorded in await replica.runtime.store.read(f"runner-{runner.uuid}")]
    assert "RunnerOffline" not in names


async def test_heartbeats_at_another_replica_keep_a_runner_online(replicas: tuple[Replica, Replica]) -> None:
    first, second = replicas
    hours = ManualClock()
    first.runtime.clock, second.runtime.clock = hours.clock(), hours.clock()
    first.runtime.settings = second.runtime.settings = Settings(runner_offline_seconds=60)
    runner = await first.register()
    await first.touch(runner.token)
    for _ in range(25):
        hours.second += 3
        await second.request(RecordRunnerHeartbeat(runner_uuid=runner.uuid))
        await first.run_periodic_task("offline_detection")
    assert (await first.get_view(runner.uuid)).online
    versions = await first.runtime.store.read(f"runner-{runner.uuid}")
    names = [recorded.event.wire_name for recorded in versions]
    # the runner's details are recorded once
    assert names == ["RunnerRegistered", "RunnerOnline", "RunnerInfoChanged"]


async def test_heartbeats_in_short_succession_are_written_once(replica: Replica) -> None:
    replica.runtime.settings = Settings()  # allows a write of heartbeats every five seconds
    replica.runtime.clock = ManualClock().clock()
    runner = await replica.register()
    await replica.touch(runner.token, "10.0.0.1")
    await replica.touch(runner.token, "10.0.0.2")
    seen = await replica.find_presence(runner.uuid)
    assert seen
    assert seen["ip_address"] == "10.0.0.1"


async def test_heartbeats_of_each_runner_are_written_once_per_interval(replica: Replica) -> None:
    hours = ManualClock()
    replica.runtime.clock, replica.runtime.settings = hours.clock(), Settings()  # allows a write every five seconds
    runners = [await replica.register() for _ in range(3)]
    tokens = [runner.token for runner in runners]
    await asyncio.gather(*map(replica.touch, tokens))
    database = replica.runtime.database
    await database.command("profile", 2)
    for _ in range(20):
        hours.second += 1
        await asyncio.gather(*map(replica.touch, tokens))
    await database.command("profile", 0)
    writes = await database["system.profile"].find({"ns": f"{database.name}.presence", "op": "update"}).to_list()
    assert 3 * 2 <= len(writes) <= 3 * 4  # per runner at most one write per interval, and at least one in two


async def test_the_service_publishes_when_runners_go_online_and_offline(stage: ServiceStage) -> None:
    async with stage.running(create_service, replicas=2), stage.connected() as bus:
        caller = MessageClient(bus)
        info = RegistrationInfo.model_validate_json(await caller.send(RevealRegistrationToken()))
        command = RegisterRunner(registration_token=info.registration_token, name="Gloin")
        runner = RunnerRegistration.model_validate_json(await caller.send(command))
        await caller.send(AuthenticateRunner(token=runner.token))
        events = await bus.jetstream(timeout=WITHIN_SECONDS).subscribe(
            f"evt.runners.runner-{runner.uuid}.*", ordered_consumer=True
        )
        subjects = [(await events.next_msg(WITHIN_SECONDS)).subject for _ in range(3)]
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
    await replica.run_periodic_task("heartbeat_cleanup")
    assert await replica.find_presence(runner.uuid) is None


async def test_runners_are_listed_newest_contact_first(replica: Replica) -> None:
    first, second = await replica.register(name="first"), await replica.register(name="second")
    assert [row["id"] for row in (await replica.list_runners()).rows] == [second.id, first.id]
    await replica.touch(first.token)
    page = await replica.list_runners(limit=1, counted=True)
    assert ([row["id"] for row in page.rows], page.total) == ([first.id], 2)
    assert [row["id"] for row in (await replica.list_runners(skip=1, limit=1)).rows] == [second.id]
    assert (await replica.list_runners(skip=90)).rows == ()


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
