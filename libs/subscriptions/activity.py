"""The query for the commits of a service, newest first, with filters. It examines a bounded part of the log."""

import re
from collections.abc import Sequence
from typing import Any

from bson import MaxKey
from pydantic_core import to_json
from pymongo import DESCENDING
from pymongo.asynchronous.database import AsyncDatabase

from contracts.history import Activity, ActivityEntry, ActivityEvent, ActorRef, CommitPosition, GetActivity
from libs.documents import Document
from libs.eventstore.change_stream import LOG_ORDER
from libs.eventstore.decider import AnyEvent
from libs.eventstore.history import redact_message
from libs.eventstore.mapping import from_document, read_metadata
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import Context
from libs.subscriptions.event_log import find_removed_streams

MAX_EXAMINED_COMMITS = 10_000
MAX_EVENT_BYTES = 4096  # longer data of an event is left out of the list
MAX_ENTRIES_BYTES = 512 * 1024  # size of the entries in one answer; NATS limits messages to 1 MiB by default
NEWEST_FIRST = [(name, DESCENDING) for name, _ in LOG_ORDER]
FIELDS = {name: 1 for name, _ in LOG_ORDER}


class ActivityLog:
    """Reads the log in the service's database from the end."""

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption) -> None:
        self._commits = database["commits"]
        self._vault = vault

    async def list_commits(self, context: Context, query: GetActivity) -> Activity:
        bound = await self._find_bound(query)
        cursor = self._commits.find(_build_filter(query), limit=query.limit + 1).sort(NEWEST_FIRST).hint(LOG_ORDER)
        cursor = cursor.max(_upper_bound(query))
        if bound:
            cursor = cursor.min(_to_bound(bound))
        documents = await cursor.to_list()
        reached = _position(documents[query.limit - 1]) if len(documents) > query.limit else bound
        documents = documents[: query.limit]
        removed = await find_removed_streams(self._commits, documents)
        entries: list[ActivityEntry] = []
        size = 0
        for document in documents:
            if document["stream"] in removed:
                continue
            entry = _to_entry(document, await from_document(document, self._vault))
            size += len(to_json(entry))
            if entries and size > MAX_ENTRIES_BYTES:
                reached = entries[-1].position
                break
            entries.append(entry)
        names = await context.get_usernames({entry.actor.id for entry in entries if entry.actor.id})
        named = [
            entry.replace(actor=entry.actor.replace(name=names[entry.actor.id])) if entry.actor.id else entry
            for entry in entries
        ]
        return Activity(entries=tuple(named), reached=reached)

    async def _find_bound(self, query: GetActivity) -> CommitPosition | None:
        """Return the position of the last commit that the query examines. None: the first commit of the log."""
        cursor = self._commits.find({}, FIELDS, skip=MAX_EXAMINED_COMMITS - 1, limit=1)
        found = await cursor.sort(NEWEST_FIRST).hint(LOG_ORDER).max(_upper_bound(query)).to_list()
        return _position(found[0]) if found else None


def _upper_bound(query: GetActivity) -> list[tuple[str, Any]]:
    """Return the exclusive upper bound in the index."""
    return _to_bound(query.before) if query.before else [(name, MaxKey()) for name, _ in LOG_ORDER]


def _to_bound(position: CommitPosition) -> list[tuple[str, Any]]:
    return [("at", position.at), ("version", position.version), ("_id", position.commit_id)]


def _position(document: Document) -> CommitPosition:
    return CommitPosition(at=document["at"], version=document["version"], commit_id=document["_id"])


def _build_filter(query: GetActivity) -> Document:
    conditions: list[Document] = [{"events": {"$ne": []}}]  # not the tombstones of removed streams
    if query.kind is not None:
        conditions.append({"stream": {"$regex": f"^{re.escape(query.kind)}-"}})
    if query.actor_id is not None:
        conditions.append({"actor.id": query.actor_id})
    if query.trace_id is not None:
        conditions.append({"trace": {"$regex": f"^[0-9a-f]{{2}}-{re.escape(query.trace_id)}-"}})
    if (project := query.project_id) is not None:
        # `projects_id` is a list in events of objects that several projects use
        named = [{"events.data.project_id": project}, {"events.data.projects_id": project}]
        conditions.append({"$or": [{"stream": f"project-{project}"}, *named]})
    return {"$and": conditions}


def _to_entry(document: Document, events: Sequence[AnyEvent]) -> ActivityEntry:
    metadata = read_metadata(document)
    kind, _, id_ = document["stream"].partition("-")
    return ActivityEntry(
        position=_position(document),
        stream=document["stream"],
        kind=kind,
        id=id_,
        actor=ActorRef(id=metadata.actor.id, name=metadata.actor.name),
        command=metadata.command,
        trace_id=metadata.trace_id,
        events=tuple(_to_event(recorded) for recorded in events),
    )


def _to_event(recorded: AnyEvent) -> ActivityEvent:
    data = redact_message(recorded.event)
    return ActivityEvent(name=recorded.event.wire_name, data=data if len(to_json(data)) <= MAX_EVENT_BYTES else None)
