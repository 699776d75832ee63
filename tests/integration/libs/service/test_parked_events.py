"""Events whose reaction keeps failing are parked, and retried when an operator requests it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from nats.errors import NoRespondersError

from contracts.messages import Command
from libs.documents import Document
from libs.eventstore.decider import RecordedEvent
from libs.messaging.cloudevents import to_body, to_headers
from libs.reactions import workers
from libs.reactions.parking import MAX_TRIES, FailedEvent, ParkedEvents
from libs.service import leader_tasks
from libs.service.declaration import Context, Policy, RetryLater, Service, Worker
from libs.subscriptions import subscription
from tests.integration.libs.service.counter_service import CounterService, new_metadata
from tests.support.counters.app import create_service, on_counter_opened, send_greeting
from tests.support.counters.counters import CounterOpened, OpenCounter
from tests.support.waiting import eventually

POISON = "poison"
POLICY, WORKER = "reactions-to-counters", "counters-greet"
TARGETS = {POLICY: "mirror", WORKER: "counter-greeted"}  # prefixes of the streams that the reactions write to


class Defect(Exception):
    pass


@dataclass
class FailingReactions:
    """The reactions of the counter service. Reactions to counters with the label POISON raise the fault."""

    fault: Exception | None = field(default_factory=Defect)
    calls: int = 0

    def fail(self, event: Any) -> None:
        if event.label == POISON:
            self.calls += 1
            if self.fault:
                raise self.fault

    def policy(self, recorded: RecordedEvent[Any]) -> Sequence[Command]:
        if isinstance(recorded.event, CounterOpened):
            self.fail(recorded.event)
        return on_counter_opened(recorded)

    async def work(self, context: Context, recorded: RecordedEvent[CounterOpened]) -> None:
        self.fail(recorded.event)
        await send_greeting(context, recorded)

    def in_service(self, reaction: str) -> Service:
        """Return the counter service with only this reaction: the policy or the worker."""
        worker = Worker("greet", "counters", (CounterOpened,), self.work, ack_wait_seconds=2.0)
        policies = (Policy("counters", self.policy, now=True),) if reaction == POLICY else ()
        workers = (worker,) if reaction == WORKER else ()
        return replace(create_service(), policies=policies, workers=workers, periodic_tasks=())


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "MAX_RETRY_SECONDS", 0.02)
    monkeypatch.setattr(workers, "MAX_RETRY_DELAY_SECONDS", 0.02)
    monkeypatch.setattr(leader_tasks, "PARKED_INTERVAL_SECONDS", 0.1)


@pytest.fixture
async def parked(counter_service: CounterService) -> ParkedEvents:
    await counter_service.migrate(FailingReactions().in_service(WORKER))  # gives the consumer the short ack wait
    return ParkedEvents(counter_service.database)


async def open_counters(counter_service: CounterService) -> None:
    await counter_service.send(OpenCounter(counter_id="1", label=POISON))
    await counter_service.send(OpenCounter(counter_id="2", label="fine"))


async def wait_until_parked(parked: ParkedEvents) -> Document:
    return (await eventually(parked.find))[0]


async def retry(parked: ParkedEvents, id_: str) -> None:
    async def is_settled() -> bool:
        return all(event["retry_at"] is None for event in await parked.find())

    await parked.request_retry(id_)
    await eventually(is_settled)


for_each_reaction = pytest.mark.parametrize("reaction", [POLICY, WORKER])


@for_each_reaction
async def test_an_event_whose_reaction_fails_is_parked_and_the_next_event_is_handled(
    counter_service: CounterService, parked: ParkedEvents, reaction: str
) -> None:
    async def is_next_handled() -> bool:
        return await counter_service.count_commits(f"{TARGETS[reaction]}-2") == 1

    async with counter_service.running(FailingReactions().in_service(reaction)):
        await open_counters(counter_service)
        event = await wait_until_parked(parked)
        await eventually(is_next_handled)
    assert (event["_id"], event["event"], event["tries"]) == (f"{reaction}/counter-1@1.0", "CounterOpened", MAX_TRIES)
    assert event["error"].startswith("Defect in test_parked_events.py:")
    assert await counter_service.count_commits(f"{TARGETS[reaction]}-1") == 0


@for_each_reaction
async def test_a_retry_after_the_cause_is_removed_executes_the_reaction_once(
    counter_service: CounterService, parked: ParkedEvents, reaction: str
) -> None:
    reactions = FailingReactions()
    async with counter_service.running(reactions.in_service(reaction)):
        await open_counters(counter_service)
        event = await wait_until_parked(parked)
        reactions.fault = None
        await retry(parked, event["_id"])
    assert await counter_service.count_commits(f"{TARGETS[reaction]}-1") == 1
    assert await parked.count() == 0


async def test_a_parked_event_outlives_its_replicas_and_is_retried_by_others(
    counter_service: CounterService, parked: ParkedEvents
) -> None:
    reactions = FailingReactions()
    async with counter_service.running(reactions.in_service(POLICY)):
        await open_counters(counter_service)
        event = await wait_until_parked(parked)
    await parked.request_retry(event["_id"])
    reactions.fault = None

    async def is_mirrored() -> bool:
        return await counter_service.count_commits("mirror-1") == 1 and await parked.count() == 0

    async with counter_service.running(reactions.in_service(POLICY)):
        await eventually(is_mirrored)


async def test_a_retry_that_fails_again_stays_parked(counter_service: CounterService, parked: ParkedEvents) -> None:
    async with counter_service.running(FailingReactions().in_service(POLICY)):
        await open_counters(counter_service)
        event = await wait_until_parked(parked)
        await retry(parked, event["_id"])
    [still_parked] = await parked.find()
    assert still_parked["tries"] == MAX_TRIES + 1


async def test_a_retry_of_a_reaction_that_was_executed_changes_nothing(
    counter_service: CounterService, parked: ParkedEvents
) -> None:
    async def is_mirrored() -> bool:
        return await counter_service.count_commits("mirror-1") == 1

    async with counter_service.running(replace(create_service(), periodic_tasks=())):
        await counter_service.send(OpenCounter(counter_id="1", label="a"))
        await eventually(is_mirrored)
        opened = RecordedEvent("counter-1", 1, 0, CounterOpened(label="a", owner=""), new_metadata())
        headers, body = to_headers("counters", opened), to_body(opened)
        await parked.park(FailedEvent(POLICY, "counters", 1, headers, body, Defect(), MAX_TRIES))
        await retry(parked, f"{POLICY}/{opened.id}")
    assert await parked.count() == 0
    assert await counter_service.count_commits("mirror-1") == 1


@pytest.mark.parametrize(
    ("reaction", "fault"),
    [
        pytest.param(POLICY, NoRespondersError(), id="outage in a policy"),
        pytest.param(WORKER, NoRespondersError(), id="outage in a worker"),
        pytest.param(WORKER, RetryLater(0.01), id="worker that asks for a later retry"),
    ],
)
async def test_a_temporary_failure_parks_nothing(
    counter_service: CounterService, parked: ParkedEvents, reaction: str, fault: Exception
) -> None:
    reactions = FailingReactions(fault)

    async def has_failed_often() -> bool:
        return reactions.calls > 2 * MAX_TRIES

    async with counter_service.running(reactions.in_service(reaction)):
        await open_counters(counter_service)
        await eventually(has_failed_often)
    assert await parked.count() == 0
