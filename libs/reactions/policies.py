"""Reactions: the commands that a service's policies send after events.

The subscription of the source's events runs each reaction. A policy with `now` is also run by the process that recorded
the event: in its transaction if the reaction starts a stream or is in `same_commit`, otherwise right after it.
The ids of the commands are derived from the event, so each command is recorded once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from cachetools import LRUCache

from contracts.errors import RequestRejected
from contracts.messages import CommandReply
from libs.clock import Clock
from libs.eventstore.decider import AnyCommand, AnyEvent, CommandMetadata
from libs.eventstore.repository import FollowUp
from libs.messaging.cloudevents import DeliveredEvent
from libs.observability.logs import summarize_error
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, inject, open_span
from libs.reactions.ids import derive_id
from libs.service.declaration import Policy, Service

if TYPE_CHECKING:
    from libs.reactions.workers import WorkerPool

log = logging.getLogger("headrace.reactions")

REACTION_CACHE_SIZE = 4096  # recently executed reactions; the subscription skips them without a query
POSTPONEMENT_SECONDS = 0.05  # delay of a batch for a policy with `now`, whose work is then usually done
CONSUMER_ATTRIBUTES = {**NATS, "messaging.operation.type": "process"}
# After contention (CONFLICT) or a bug (REQUEST_INVALID), the subscription logs the error and retries the event.
RETRYABLE_CODES = {"CONFLICT", "REQUEST_INVALID"}

Send = Callable[[AnyCommand, CommandMetadata], Awaitable[CommandReply]]
Prepare = Callable[[AnyCommand, CommandMetadata], Awaitable[AnyCommand]]


class Reactions:
    """Runs the policies of one service in one process."""

    def __init__(self, service: Service, clock: Clock, metrics: Metrics, send: Send, prepare: Prepare) -> None:
        self._service = service
        self._clock = clock
        self._metrics = metrics
        self._send = send
        self._prepare = prepare
        self._now = next((policy for policy in service.policies if policy.now), None)
        self._by_command = {
            command: category for category in service.categories for command in category.decider.commands
        }
        prepared = {flow.command for flow in service.command_flows if flow.prepare}
        starts_stream = [
            command
            for category in service.categories
            for command in category.decider.initial_commands
            if command not in prepared
        ]
        self._inline = (*starts_stream, *(self._now.same_commit if self._now else ()))
        self._executed: LRUCache[str, None] = LRUCache(REACTION_CACHE_SIZE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.tasks: set[asyncio.Task[None]] = set()
        self.workers: WorkerPool | None = None  # in processes that run the service's workers
        metrics.reactions_refused.add(0, {"service": service.name})  # exported as 0 from the start

    async def inline_follow_ups(self, events: Sequence[AnyEvent]) -> Sequence[FollowUp]:
        """Return the commands of the policy with `now` that start a stream without preparation or are in `same_commit`.

        The events of these commands are committed in the same transaction as `events`.
        """
        if self._now is None:
            return ()
        follow_ups: list[FollowUp] = []
        for recorded in events:
            for command, metadata in self._derive_commands(self._now, recorded):
                if isinstance(command, self._inline):
                    prepared = await self._prepare(command, metadata)
                    follow_ups.append((self._by_command[type(prepared)], prepared, metadata))
        return follow_ups

    def _derive_commands(self, policy: Policy, recorded: AnyEvent) -> Iterator[tuple[AnyCommand, CommandMetadata]]:
        """Yield the commands of the policy for an event. Their ids are derived from the event's id."""
        for index, command in enumerate(policy.react(recorded)):
            source = (self._service.name, recorded.id, command.wire_name)
            category = self._by_command.get(type(command))
            yield (
                command,
                CommandMetadata(
                    derive_id(*source, index),  # the only id of a reaction that releases up to 0.2.0 use
                    self._clock.machine_time(),
                    recorded.metadata.actor,
                    command.wire_name,
                    recorded.metadata.traceparent,
                    reaction_id=derive_id(*source, category.decider.stream(command)) if category else "",
                ),
            )

    async def run_now(self, events: Sequence[AnyEvent]) -> None:
        """React to the service's own new events, and start its workers with `now`.

        The reactions to events in `before_reply` are done when this returns. The others run in a background task. If
        the process dies, the subscription and the workers' consumers repeat them.
        """
        if self.workers:
            self.workers.start_now(events)
        if self._now is None:
            return
        awaited = [recorded for recorded in events if isinstance(recorded.event, self._now.before_reply)]
        if background := [recorded for recorded in events if not isinstance(recorded.event, self._now.before_reply)]:
            task = asyncio.create_task(self._react_logged(self._now, background))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if awaited:
            await self._react_logged(self._now, awaited)

    async def _react_logged(self, policy: Policy, events: Sequence[AnyEvent]) -> None:
        try:
            for recorded in events:
                await self.react(policy, recorded, may_be_duplicate=False)
        except Exception as error:
            # nothing is lost: the subscription handles the same event
            reason, traceback = summarize_error(error)
            log.warning(
                "reaction to %s failed (%s); the subscription will retry it", events[0].id, reason, exc_info=traceback
            )

    async def react_to_batch(self, policy: Policy, batch: Sequence[DeliveredEvent], _session: object) -> None:
        if policy.now:
            await asyncio.sleep(POSTPONEMENT_SECONDS)
        for delivered in batch:
            recorded = delivered.recorded
            name = f"react {recorded.event.wire_name}"
            with open_span(name, SpanKind.CONSUMER, recorded.metadata.traceparent, CONSUMER_ATTRIBUTES):
                await self.react(policy, recorded)

    async def react(self, policy: Policy, recorded: AnyEvent, *, may_be_duplicate: bool = True) -> None:
        """Send the commands of the policy for an event. Idempotent.

        `may_be_duplicate`: another process may have sent them already, as for events from the subscription.
        """
        async with self._locks.setdefault(recorded.id, asyncio.Lock()):
            for command, metadata in self._derive_commands(policy, recorded):
                if metadata.command_id not in self._executed:
                    await self._send_command(command, metadata, recorded, may_be_duplicate=may_be_duplicate)

    async def _send_command(
        self, command: AnyCommand, metadata: CommandMetadata, recorded: AnyEvent, *, may_be_duplicate: bool
    ) -> None:
        traceparent = inject() or metadata.traceparent
        try:
            await self._send(command, replace(metadata, may_be_duplicate=may_be_duplicate, traceparent=traceparent))
        except RequestRejected as rejected:
            if rejected.code in RETRYABLE_CODES or rejected.failure.status >= 500:
                raise  # a temporary or internal error, not a rejection by a business rule
            # not counted in the process that recorded the event, whose command may have come too early
            if may_be_duplicate:
                self._metrics.reactions_refused.add(1, {"service": self._service.name})
            log.warning("%s after %s was rejected: %s", command.wire_name, recorded.id, rejected.code)
        else:
            self.mark_executed(metadata)

    def mark_executed(self, metadata: CommandMetadata) -> None:
        """Remember a command that was recorded, so that the subscription does not send it again."""
        self._executed[metadata.command_id] = None
