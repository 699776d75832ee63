"""The counter service with several replicas: commands, reactions, leadership and shutdown."""

import asyncio
import base64
import gc
import sys
from dataclasses import replace
from time import perf_counter
from typing import Any

import httpx

from contracts.errors import RequestRejected
from contracts.messages import Command, CommandReply, ReadModelRow
from infra.local import ports
from libs.eventstore.decider import AnyEvent, RecordedEvent
from libs.service.declaration import Policy
from libs.service.service_host import serve
from tests.integration.libs.service.counter_service import CounterService
from tests.support.counters.app import create_service, on_counter_opened
from tests.support.counters.counters import (
    CloseCounter,
    CounterClosed,
    CounterView,
    MirrorCounter,
    MirrorView,
    OpenCounter,
    RaiseCounter,
)
from tests.support.counters.domain import counters, mirrors
from tests.support.waiting import eventually


async def test_a_repeated_command_has_one_effect_and_one_result(counter_service: CounterService) -> None:
    async with counter_service.running():
        raise_it = RaiseCounter(counter_id="1", by=5)
        answers = await asyncio.gather(*(counter_service.send(raise_it, "same") for _ in range(8)))
        again = await counter_service.send(raise_it, "same")
        assert [answer for answer in answers if answer != again] == []
        assert again.row["value"] == 5
        assert await counter_service.get_value("1") == 5


async def test_concurrent_commands_on_one_stream_at_two_replicas_are_all_recorded(
    counter_service: CounterService,
) -> None:
    async with counter_service.running():
        await asyncio.gather(*(counter_service.send(RaiseCounter(counter_id="1")) for _ in range(40)))
        assert await counter_service.get_value("1") == 40


async def test_commands_racing_for_one_name_get_one_winner(counter_service: CounterService) -> None:
    async with counter_service.running():
        commands = [counter_service.send(OpenCounter(counter_id=str(number), label="a")) for number in range(10)]
        outcomes = await asyncio.gather(*commands, return_exceptions=True)
    refusals = [outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)]
    assert refusals == ["PROJECT_ALIAS_TAKEN"] * 9


async def test_the_recorder_of_metrics_gets_each_event_with_a_row_of_its_category(
    counter_service: CounterService,
) -> None:
    recorded_rows: set[tuple[str, type[ReadModelRow]]] = set()

    def record(recorded: AnyEvent, row: ReadModelRow) -> None:
        recorded_rows.add((recorded.stream, type(row)))

    policy = Policy("counters", on_counter_opened, now=True, same_commit=(MirrorCounter,))
    service = replace(
        create_service(), periodic_tasks=(), workers=(), policies=(policy,), event_recorder=lambda _meter: record
    )
    async with counter_service.running(service, replicas=1):
        await counter_service.send(OpenCounter(counter_id="1"))
    assert recorded_rows == {("counter-1", CounterView), ("mirror-1", MirrorView)}


async def test_policy_projection_periodic_task_and_worker_all_run(counter_service: CounterService) -> None:
    async def is_greeted() -> bool:
        return await counter_service.get_value("greeted-1") == 1

    async def has_ticked() -> bool:
        return await counter_service.get_value("clock") > 2

    async def is_mirrored() -> bool:
        return await counter_service.count_commits("mirror-1") == 1

    async with counter_service.running():
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        await eventually(is_mirrored)
        await eventually(is_greeted)
        await eventually(has_ticked)
        await counter_service.send(RaiseCounter(counter_id="1", by=9))
        await eventually(counter_service.is_caught_up)
        assert (await counter_service.read_totals())["counter-1"] == (1, 9)


async def test_a_synchronous_reaction_repeated_by_the_subscription_has_no_further_effect(
    counter_service: CounterService,
) -> None:
    async def has_passed() -> bool:
        reached = {"_id": "reactions-to-counters", "sequence": {"$gte": 1}}
        return await counter_service.database["followers"].count_documents(reached) == 1

    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        await eventually(has_passed)
        assert await counter_service.count_commits("mirror-1") == 1


async def test_a_reaction_that_starts_a_stream_is_committed_with_its_cause(counter_service: CounterService) -> None:
    starting_mirrors = replace(mirrors, decider=replace(mirrors.decider, initial_commands=(MirrorCounter,)))
    async with counter_service.running(
        replace(create_service(), categories=(counters, starting_mirrors), periodic_tasks=())
    ):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        assert await counter_service.count_commits("mirror-1") == 1


async def test_reactions_lost_with_a_replica_are_run_by_the_subscription(counter_service: CounterService) -> None:
    async def is_mirrored() -> bool:
        return await counter_service.count_commits("mirror-1") == 1

    without_policies = replace(create_service(), policies=())
    async with counter_service.running(without_policies):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
    assert await counter_service.count_commits("mirror-1") == 0
    async with counter_service.running():
        await eventually(is_mirrored)


async def test_another_replica_leads_when_the_leader_is_killed(counter_service: CounterService) -> None:
    environment = {
        "HEADRACE_MONGODB_URL": counter_service.settings.mongodb_url,
        "HEADRACE_NATS_URL": counter_service.settings.nats_url,
        "HEADRACE_MASTER_KEY": base64.b64encode(counter_service.settings.master_keys[0]).decode(),
        "HEADRACE_DATABASE_PREFIX": counter_service.settings.database_prefix,
    }
    command = (sys.executable, "-m", "tests.integration.libs.messaging.counters_process")
    health = {name: ports.find_free_port() for name in ("one", "two")}
    processes = {
        name: await asyncio.create_subprocess_exec(
            *command,
            env={**environment, "HEADRACE_INSTANCE": name, "HEADRACE_HEALTH_PORT": str(port)},
            stderr=asyncio.subprocess.DEVNULL,
        )
        for name, port in health.items()
    }
    try:

        async def both_are_ready_and_one_leads() -> bool:
            ready = [await asyncio.to_thread(ports.is_http_ok, port, "/readyz") for port in health.values()]
            return all(ready) and await counter_service.find_leader() in processes

        await eventually(both_are_ready_and_one_leads, within=60)
        first = await counter_service.find_leader()
        processes[first].kill()
        (second,) = processes.keys() - {first}

        async def other_replica_leads() -> bool:
            return await counter_service.find_leader() == second

        started = perf_counter()
        await eventually(other_replica_leads, within=20)
        print(f"another replica leads after {perf_counter() - started:.2f} s")  # noqa: T201

        async def is_taken() -> bool:
            """Return whether the repeated command was accepted.

            Until the database aborts an open transaction of the killed replica, that transaction may lock the stream.
            """
            try:
                await counter_service.send(RaiseCounter(counter_id="1", by=9), "repeated")
            except RequestRejected as refused:
                if refused.code not in ("SERVICE_TIMEOUT", "SERVICE_UNAVAILABLE"):
                    raise
                return False
            return True

        await eventually(is_taken, within=30)
        await eventually(counter_service.is_caught_up)
    finally:
        for process in processes.values():
            if process.returncode is None:
                process.kill()
            await process.wait()


async def test_a_stopping_replica_finishes_commands_in_flight(counter_service: CounterService) -> None:
    stop = asyncio.Event()
    replica = asyncio.ensure_future(counter_service.run_replica(1, stop))
    await eventually(counter_service.is_answering)
    pending = [
        asyncio.create_task(counter_service.send(RaiseCounter(counter_id=str(number % 7)), f"c{number}"))
        for number in range(60)
    ]
    await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
    stop.set()
    async with asyncio.timeout(10):
        await replica
    outcomes = await asyncio.gather(*pending, return_exceptions=True)
    refused = {outcome.code for outcome in outcomes if isinstance(outcome, RequestRejected)}
    assert refused <= {"SERVICE_UNAVAILABLE"}
    done = sum(isinstance(outcome, CommandReply) for outcome in outcomes)
    assert await counter_service.database["commits"].count_documents({"_id": {"$regex": r"^c\d+$"}}) == done


def count_tasks(coroutine: str) -> int:
    return sum(getattr(task.get_coro(), "__qualname__", "") == coroutine for task in asyncio.all_tasks())


async def test_a_replica_stopped_during_startup_leaves_no_tasks_or_connections(counter_service: CounterService) -> None:
    for moment in range(25):
        stop = asyncio.Event()
        asyncio.get_running_loop().call_later(moment * 0.005, stop.set)
        await counter_service.run_replica(1, stop)
    connections = count_tasks("Client._read_loop")
    assert (connections, count_tasks("lead"), count_tasks("pulse")) == (1, 0, 0)  # one connection: the test's own
    gc.collect()  # an unclosed socket would be reported here and fail the test


def raise_closed(recorded: RecordedEvent[Any]) -> list[Command]:
    """React to the closing of a counter with a command that is always rejected."""
    closed = isinstance(recorded.event, CounterClosed)
    return [RaiseCounter(counter_id=recorded.stream.removeprefix("counter-"))] if closed else []


async def test_a_rejected_reaction_is_counted_once(counter_service: CounterService) -> None:
    port = ports.find_free_port()
    service = replace(create_service(), periodic_tasks=(), policies=(Policy("counters", raise_closed, now=True),))
    stop = asyncio.Event()
    running = asyncio.ensure_future(
        serve(service, counter_service.settings.model_copy(update={"health_port": port}), stop)
    )

    async def refused() -> str:
        async with httpx.AsyncClient() as client:
            metrics = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
        return next(line for line in metrics.splitlines() if line.startswith("headrace_reactions_refused_total"))

    async def is_followed() -> bool:
        position = await counter_service.database["followers"].find_one({"_id": "reactions-to-counters"})
        return position is not None and position["sequence"] == 3

    try:
        await eventually(counter_service.is_answering)
        assert (await refused()).endswith(" 0.0")
        for command in (OpenCounter(counter_id="1", label="a"), CloseCounter(counter_id="1")):
            await counter_service.send(command)
        await eventually(is_followed)
        assert (await refused()).endswith(" 1.0")
    finally:
        stop.set()
        await running
