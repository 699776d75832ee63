"""History: what the log says of one stream, and its row as it was at a moment, without secrets."""

from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import RequestRejected
from contracts.history import (
    ActorRef,
    EventEntry,
    GetHistory,
    GetState,
    History,
    HistoryEntry,
    StreamQuery,
    StreamState,
)
from contracts.messages import Message, secret_fields
from libs.eventstore.decider import Category
from libs.eventstore.mapping import Document, from_document, read_metadata
from libs.projections.read_model import ROW_EXISTS
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import Context, Handler

MAX_ENTRIES_BYTES = (
    512 * 1024
)  # bytes of an answer's entries; the message bus takes 1 MiB where nobody raised the limit
MAX_ID_DIGITS = 18  # digits that fit into 64 bits


def redact_message(value: Any) -> Any:
    """A message as people may read it: secret fields are left out, however deep they lie."""
    match value:
        case Message():
            hidden = secret_fields(type(value))
            return {name: redact_message(inner) for name, inner in value if name not in hidden}
        case tuple() | list():
            return [redact_message(inner) for inner in value]
        case dict():
            return {name: redact_message(inner) for name, inner in value.items()}
        case _:
            return value


class HistoryQueries:
    """The same answers in every service, each about its own streams."""

    def __init__(
        self, database: AsyncDatabase[Document], vault: Encryption, categories: Sequence[Category[Any, Any, Any, Any]]
    ) -> None:
        self._commits = database["commits"]
        self._streams = database["streams"]
        self._vault = vault
        self._categories = {category.name: category for category in categories}
        self.handlers: dict[type[Message], Handler] = {GetHistory: self.get_history, GetState: self.get_state}

    async def get_history(self, _context: Context | None, query: GetHistory) -> History:
        head = await self._find_head(query)
        versions = {"$lt" if query.newest_first and query.after else "$gt": query.after}
        order = DESCENDING if query.newest_first else ASCENDING
        wanted = self._commits.find({"stream": head["_id"], "version": versions}, limit=query.limit + 1)
        entries: list[HistoryEntry] = []
        size, more = 0, False
        async for document in wanted.sort("version", order):
            entry = await self._to_entry(document)
            size += len(entry.model_dump_json())
            more = bool(entries) and (len(entries) == query.limit or size > MAX_ENTRIES_BYTES)
            if more:
                break
            entries.append(entry)
        return History(
            kind=query.kind,
            id=query.id,
            version=head["version"],
            entries=tuple(entries),
            next=entries[-1].version if more else None,
        )

    async def get_state(self, context: Context, query: GetState) -> StreamState:
        category = self._categories[query.kind]
        until: Document = {"version": {"$lte": query.version}}
        if query.at:  # without it all that was recorded counts, also by a replica whose clock is ahead
            until["at"] = {"$lte": query.at}
        log = self._commits.find({"stream": (await self._find_head(query))["_id"], **until}).sort("version", ASCENDING)
        row, last = category.initial_row, None
        async for document in log:
            last = document
            for recorded in await from_document(document, self._vault):
                row = category.apply(row, recorded)
        if last is None:
            raise RequestRejected("HISTORY_NOT_FOUND", "It was not there yet at that time.")
        return StreamState(
            kind=query.kind,
            id=query.id,
            at=query.at or max(context.metadata.at, last["at"]),
            version=last["version"],
            changed_at=last["at"],
            state=None if category.is_deleted(row) else redact_message(row),
        )

    async def _to_entry(self, document: Document) -> HistoryEntry:
        cause = read_metadata(document)
        return HistoryEntry(
            version=document["version"],
            at=cause.at,
            actor=ActorRef(id=cause.actor.id, name=cause.actor.name),
            command=cause.command,
            trace_id=cause.traceparent.split("-")[1] if cause.traceparent else "",
            events=tuple(
                EventEntry(name=one.event.wire_name, data=redact_message(one.event))
                for one in await from_document(document, self._vault)
            ),
        )

    async def _find_head(self, query: StreamQuery) -> Document:
        """By the stream's own id, which also finds what was deleted, or by the other one that its rows are found by."""
        if query.kind not in self._categories:
            raise RequestRejected("HISTORY_KIND_UNKNOWN")
        fields = {"version": 1}
        head = await self._streams.find_one({"_id": f"{query.kind}-{query.id}"}, fields)
        if head is None and (row := self._row_filter(self._categories[query.kind], query.id)):
            head = await self._streams.find_one(row, fields)
        if head is None:
            raise RequestRejected("HISTORY_NOT_FOUND")
        return head

    def _row_filter(self, category: Category[Any, Any, Any, Any], id_: str) -> Document | None:
        """Only where an index helps: nobody shall make us read all streams for an id that is not there."""
        is_number = id_.isascii() and id_.isdigit() and len(id_) <= MAX_ID_DIGITS
        name, value = ("id", int(id_)) if is_number else ("uuid", id_.lower())
        field = category.row_field
        return {field: ROW_EXISTS, f"{field}.{name}": value} if (name,) in category.indexes else None
