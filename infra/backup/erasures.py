"""Erasures of users: listed outside of a backup, and applied again to a restored system.

A backup contains the users who were erased after it was taken, with their keys. The erasures since then come from the
identity stream in JetStream, which outlives the databases, and from a file that `headrace admin erasures` wrote.
"""

import json
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

from nats.aio.client import Client
from nats.js.errors import NotFoundError
from pydantic import ValidationError
from pymongo import UpdateOne
from pymongo.asynchronous.database import AsyncDatabase

from contracts.identity import UserDeleted
from contracts.messages import Message
from infra.local.process import OperatorError
from libs.documents import Document
from libs.messaging import cloudevents

IDENTITY = "identity"
ERASURES_COLLECTION = "erasures"  # read by the identity service at its start and every minute
DELETED_SUBJECT = f"evt.{IDENTITY}.*.{UserDeleted.wire_name}"


class Erasure(Message):
    user_id: int
    user_uuid: str = ""  # empty: erased by a release up to 0.2.0
    at: datetime

    @classmethod
    def from_event(cls, event: UserDeleted, at: datetime) -> Self:
        return cls(user_id=event.user_id, user_uuid=event.user_uuid, at=at)


async def read_log(database: AsyncDatabase[Document]) -> AsyncIterator[Erasure]:
    """Yield the erasures in the event log of the identity service, oldest first."""
    async for commit in database["commits"].find({"events.name": UserDeleted.wire_name}).sort("at"):
        for event in commit["events"]:
            if event["name"] == UserDeleted.wire_name:
                yield Erasure.from_event(UserDeleted.model_validate(event["data"]), commit["at"])


async def read_stream(nats: Client) -> list[Erasure]:
    """Return the erasures in the JetStream stream of the identity service, oldest first."""
    js, sequence, erasures = nats.jetstream(), 1, list[Erasure]()
    while True:
        try:
            message = await js.get_msg(IDENTITY, seq=sequence, subject=DELETED_SUBJECT, next=True)
        except NotFoundError:
            return erasures
        recorded = cloudevents.from_message(message.headers or {}, message.data or b"")
        erasures.append(Erasure.from_event(recorded.event, recorded.at))
        sequence = (message.seq or sequence) + 1


def read_file(path: Path) -> list[Erasure]:
    """Return the erasures of a file that `headrace admin erasures` wrote. Raises OperatorError for any other file."""
    try:
        return [Erasure.model_validate_json(line) for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeError, ValidationError):
        raise OperatorError(
            f"{path} is not a list of erasures. Write it with `headrace admin erasures > FILE`."
        ) from None


def to_documents(erasures: Iterable[Erasure], since: datetime) -> list[Document]:
    """Return the documents that make the identity service repeat the erasures from `since` on.

    The backup already contains earlier erasures.
    """
    return [
        {"_id": f"user-{erasure.user_id} {erasure.user_uuid}", **erasure.model_dump(exclude={"at"})}
        for erasure in erasures
        if erasure.at >= since
    ]


async def store(database: AsyncDatabase[Document], documents: Sequence[Mapping[str, object]]) -> None:
    writes = [
        UpdateOne({"_id": document["_id"]}, {"$set": {k: v for k, v in document.items() if k != "_id"}}, upsert=True)
        for document in documents
    ]
    if writes:
        await database[ERASURES_COLLECTION].bulk_write(writes, ordered=False)


def to_line(erasure: Erasure) -> str:
    return json.dumps(erasure.model_dump(mode="json"))
