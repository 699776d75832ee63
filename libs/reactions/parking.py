"""Parked events: an event whose reaction fails too often is set aside, so that other events are handled.

A parked event is stored as it was delivered, until a retry that an operator requests succeeds. Its personal fields stay
encrypted.
"""

import logging
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from nats.errors import Error as NatsError
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import ConnectionFailure

from contracts.errors import RequestRejected
from contracts.messages import UnknownEvent
from libs.clock import Clock
from libs.documents import Document
from libs.eventstore import OutcomeUnknown, StoreUnavailable
from libs.eventstore.decider import AnyEvent
from libs.eventstore.store import WrongExpectedVersion
from libs.messaging import cloudevents
from libs.service.declaration import RetryLater

log = logging.getLogger("headrace.reactions")

COLLECTION = "parked_events"
MAX_TRIES = 8
IMMEDIATELY = datetime(1970, 1, 1, tzinfo=UTC)
OUTAGE_CODES = {"SERVICE_UNAVAILABLE", "SERVICE_TIMEOUT", "ARTIFACT_STORE_UNAVAILABLE"}

RunReaction = Callable[[str, AnyEvent], Awaitable[None]]


@dataclass(frozen=True)
class FailedEvent:
    """An event as it was delivered, and the last error of the reaction to it."""

    reaction: str  # name of the subscription or of the worker's consumer
    source: str  # the service that recorded the event
    sequence: int  # sequence number in the stream of the source
    headers: Mapping[str, str]
    body: bytes
    error: Exception
    tries: int


Park = Callable[[FailedEvent], Awaitable[None]]


class ParkedEvents:
    """The parked events of one service."""

    def __init__(self, database: AsyncDatabase[Document], clock: Clock | None = None) -> None:
        self._events: AsyncCollection[Document] = database[COLLECTION]
        self._clock = clock or Clock()

    async def park(self, failed: FailedEvent) -> None:
        """Store an event. Its reaction runs again when an operator requests a retry."""
        event_id = failed.headers.get("ce-id", f"message {failed.sequence} of {failed.source}")
        document = {
            "reaction": failed.reaction,
            "source": failed.source,
            "event_id": event_id,
            "event": failed.headers.get("ce-type", ""),
            "parked_at": self._clock.database_time(),
            "tries": failed.tries,
            "error": describe_error(failed.error),
            "headers": dict(failed.headers),
            "body": failed.body,
            "retry_at": None,
        }
        await self._events.replace_one({"_id": f"{failed.reaction}/{event_id}"}, document, upsert=True)
        log.error(
            "%s failed %d times on %s; parked, see `headrace admin reactions list`",
            failed.reaction,
            failed.tries,
            event_id,
            exc_info=failed.error,
        )

    async def find(self) -> list[Document]:
        return await self._events.find({}).sort({"parked_at": 1}).to_list()

    async def request_retry(self, id_: str) -> None:
        await self._events.update_one({"_id": id_}, {"$set": {"retry_at": IMMEDIATELY}})

    async def count(self) -> int:
        return await self._events.count_documents({})

    async def retry_requested(self, run: RunReaction) -> None:
        """Retry the parked events whose retry is due. Delete an event if its reaction succeeds, else keep it parked.

        After a temporary error, such as an outage, the next call retries.
        """
        async for parked in self._events.find({"retry_at": {"$lte": self._clock.database_time()}}):
            try:
                await run(parked["reaction"], cloudevents.from_message(parked["headers"], parked["body"]))
            except RetryLater as later:
                retry_at = self._clock.database_time() + timedelta(seconds=later.delay_seconds)
                await self._events.update_one({"_id": parked["_id"]}, {"$set": {"retry_at": retry_at}})
            except Exception as error:
                if is_temporary(error):
                    log.warning(
                        "%s waits before the parked event %s: %s", parked["reaction"], parked["event_id"], error
                    )
                    continue
                failure = {"retry_at": None, "error": describe_error(error), "tries": parked["tries"] + 1}
                await self._events.update_one({"_id": parked["_id"]}, {"$set": failure})
                log.warning("%s failed again on %s", parked["reaction"], parked["event_id"], exc_info=error)
            else:
                await self._events.delete_one({"_id": parked["_id"]})
                log.info("%s handled the parked event %s", parked["reaction"], parked["event_id"])


def is_outage(error: Exception) -> bool:
    """Return whether a server or another service does not respond."""
    if isinstance(error, RequestRejected):
        return error.code in OUTAGE_CODES
    return isinstance(error, (NatsError, ConnectionFailure, TimeoutError, StoreUnavailable, OutcomeUnknown))


def is_temporary(error: Exception) -> bool:
    """Return whether a retry may succeed without a change of code or data. Such a failure does not count as a try."""
    if isinstance(error, RequestRejected) and error.code == "CONFLICT":
        return True
    # a replica of a later release handles an unknown event
    return is_outage(error) or isinstance(error, WrongExpectedVersion | UnknownEvent)


def describe_error(error: Exception) -> str:
    """Return the type, code and place of an error. The message is left out, because it may contain any data."""
    name = f"{type(error).__name__} {error.code}" if isinstance(error, RequestRejected) else type(error).__name__
    frames = traceback.extract_tb(error.__traceback__)
    return f"{name} in {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else name
