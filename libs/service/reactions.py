"""Reactions: the commands that a service's policies send after events.

A reaction to an own event runs in up to three places: in the transaction of the event if the reaction starts a stream,
in the process that recorded the event, and in the subscription. The ids of the commands are derived from the event's
id, so each command is recorded once.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import replace
from uuid import NAMESPACE_URL, uuid5
from weakref import WeakValueDictionary

from cachetools import LRUCache

from contracts.errors import RequestRejected
from contracts.messages import CommandReply
from libs.clock import Clock
from libs.eventstore.decider import AnyCategory, AnyCommand, AnyEvent, CommandMetadata
from libs.eventstore.repository import FollowUp
from libs.messaging.cloudevents import DeliveredEvent
from libs.observability.logs import summarize_error
from libs.observability.metrics import Metrics
from libs.observability.tracing import NATS, SpanKind, inject, open_span
from libs.service.declaration import Service

log = logging.getLogger("headrace.reactions")

REACTION_CACHE_SIZE = 4096  # recently executed reactions; the subscription skips them without a query
CONSUMER_ATTRIBUTES = {**NATS, "messaging.operation.type": "process"}
# After contention (CONFLICT) or a bug (REQUEST_INVALID), the subscription logs the error and retries the event.
RETRYABLE_CODES = {"CONFLICT", "REQUEST_INVALID"}

Send = Callable[[AnyCommand, CommandMetadata], Awaitable[CommandReply]]


def derive_id(*parts: object) -> str:
    return str(uuid5(NAMESPACE_URL, "/".join(map(str, parts))))


def policy_subscription(source: str) -> str:
    """Return the name of the subscription that runs the policy for the events of the service `source`."""
    return f"reactions-to-{source}"


class Reactions:
    """Runs the policies of one service in one process."""

    def __init__(self, service: Service, clock: Clock, metrics: Metrics, send: Send) -> None:
        self._service = service
        self._clock = clock
        self._metrics = metrics
        self._send = send
        self._by_command = {
            command: category for category in service.categories for command in category.decider.commands
        }
        self._prepared = {flow.command for flow in service.command_flows if flow.prepare}
        self._executed: LRUCache[str, None] = LRUCache(REACTION_CACHE_SIZE)
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self.tasks: set[asyncio.Task[None]] = set()
        metrics.reactions_refused.add(0, {"service": service.name})  # exported as 0 from the start

    def inline_follow_ups(self, events: Sequence[AnyEvent]) -> Sequence[FollowUp]:
        """Return the commands of the service's policy for its own events that create a new stream.

        The events of these commands are committed in the same transaction as `events`.
        """
        if self._service.name not in self._service.policies:
            return ()
        return [
            (category, command, metadata)
            for recorded in events
            for command, metadata in self._policy_commands(self._service.name, recorded)
            if (category := self._category_of_new_stream(command))
        ]

    def _category_of_new_stream(self, command: AnyCommand) -> AnyCategory | None:
        category = self._by_command.get(type(command))
        if category is None or type(command) in self._prepared:
            return None
        return category if isinstance(command, category.decider.initial_commands) else None

    def _policy_commands(self, source: str, recorded: AnyEvent) -> Iterator[tuple[AnyCommand, CommandMetadata]]:
        """Yield the commands of the policy for an event. Their ids are derived from the event's id."""
        for index, command in enumerate(self._service.policies[source](recorded)):
            command_id = derive_id(self._service.name, recorded.id, command.wire_name, index)
            yield (
                command,
                CommandMetadata(
                    command_id,
                    self._clock.machine_time(),
                    recorded.metadata.actor,
                    command.wire_name,
                    recorded.metadata.traceparent,
                ),
            )

    async def run_in_process(self, events: Sequence[AnyEvent]) -> None:
        """React to the service's own new events. If the process dies, the subscription repeats the reactions.

        The reactions to `synchronous_reactions` are done when this returns. The others run in a background task.
        """
        if self._service.name not in self._service.policies:
            return
        types = self._service.synchronous_reactions
        synchronous = [recorded for recorded in events if isinstance(recorded.event, types)]
        background = [recorded for recorded in events if not isinstance(recorded.event, types)]
        if background:
            task = asyncio.create_task(self._react_logged(background))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)
        if synchronous:
            await self._react_logged(synchronous)

    async def _react_logged(self, events: Sequence[AnyEvent]) -> None:
        try:
            for recorded in events:
                await self.react(self._service.name, recorded, may_be_duplicate=False)
        except Exception as error:
            # nothing is lost: the subscription handles the same event
            reason, traceback = summarize_error(error)
            log.warning(
                "reaction to %s failed (%s); the subscription will retry it", events[0].id, reason, exc_info=traceback
            )

    async def react_to_batch(self, source: str, batch: Sequence[DeliveredEvent]) -> None:
        for delivered in batch:
            recorded = delivered.recorded
            name = f"react {recorded.event.wire_name}"
            with open_span(name, SpanKind.CONSUMER, recorded.metadata.traceparent, CONSUMER_ATTRIBUTES):
                await self.react(source, recorded)

    async def react(self, source: str, recorded: AnyEvent, *, may_be_duplicate: bool = True) -> None:
        """Send the commands of the policy for an event. Idempotent.

        `may_be_duplicate`: another process may have sent them already, as for events from the subscription.
        """
        async with self._locks.setdefault(recorded.id, asyncio.Lock()):
            for command, metadata in self._policy_commands(source, recorded):
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
