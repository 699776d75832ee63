"""Checkpoints: how far a subscription has handled the events of a stream, stored in the subscriber's database.

A subscription moves only the checkpoint that it stored before. If a second subscription of the same name has changed
the checkpoint, the first one detects this and stops.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import uuid4

from pymongo.asynchronous.client_session import AsyncClientSession
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.service.leader_election import LeadershipLost

CHECKPOINTS = "followers"
REBUILDING = "rebuilding"  # value of `incarnation` while a rebuild holds the checkpoint
COMPLETE = "complete"  # field of a checkpoint whose subscription has reached the end of the stream once


class CheckpointConflict(LeadershipLost):
    """The checkpoint is not the expected one: another replica has moved it, or a rebuild has replaced or holds it."""


@dataclass(frozen=True)
class Checkpoint:
    incarnation: str = ""  # creation time of the stream, because a recreated stream starts its sequence numbers again
    sequence: int = 0
    event_id: str = ""
    # events before this time were read from the event log; None: all events came from the stream
    log_end: datetime | None = None

    def to_document(self) -> Document:
        return {
            "incarnation": self.incarnation,
            "sequence": self.sequence,
            "event_id": self.event_id,
            **({"log_end": self.log_end} if self.log_end else {}),
        }

    @classmethod
    def from_document(cls, document: Document) -> "Checkpoint":
        return cls(document["incarnation"], document["sequence"], document["event_id"], document.get("log_end"))


class CheckpointStore:
    """The checkpoint of one subscription."""

    def __init__(self, database: AsyncDatabase[Document], name: str) -> None:
        self._name = name
        self._checkpoints: AsyncCollection[Document] = database[CHECKPOINTS]

    async def find(self) -> Document | None:
        return await self._checkpoints.find_one({"_id": self._name})

    async def fence(self) -> Checkpoint:
        """Store a unique checkpoint, which makes the next write of another subscription of the same name fail."""
        fence = Checkpoint(uuid4().hex)
        await self._checkpoints.replace_one({"_id": self._name}, fence.to_document(), upsert=True)
        return fence

    async def replace(self, fence: Checkpoint, started: Checkpoint) -> None:
        """Replace the fence. Raises CheckpointConflict if another subscription or a rebuild has replaced it."""
        fenced = {"_id": self._name, "incarnation": fence.incarnation}
        result = await self._checkpoints.replace_one(fenced, started.to_document())
        if result.matched_count == 0:
            raise CheckpointConflict(self._name)

    async def move(self, saved: Checkpoint, moved: Checkpoint, session: AsyncClientSession | None = None) -> None:
        """Move the checkpoint. Raises CheckpointConflict if it is not `saved`."""
        result = await self._checkpoints.update_one(
            {"_id": self._name, "incarnation": saved.incarnation, "sequence": saved.sequence},
            {"$set": {"sequence": moved.sequence, "event_id": moved.event_id}},
            session=session,
        )
        if result.matched_count == 0:
            raise CheckpointConflict(self._name)

    async def mark_complete(self) -> None:
        await self._checkpoints.update_one({"_id": self._name}, {"$set": {COMPLETE: True}})
