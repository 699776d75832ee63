"""Queries over the log of one stream: its history, and its row at a version or time. Secrets are left out."""

from collections.abc import Sequence

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
from contracts.messages import Message, Payload, secret_fields
from libs.documents import Document
from libs.eventstore.decider import AnyCategory
from libs.eventstore.mapping import from_document, read_metadata
from libs.projections.read_model import ROW_EXISTS
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import AnyHandler, Context, Handler

MAX_ENTRIES_BYTES = 512 * 1024  # limit for the entries of one reply; NATS limits messages to 1 MiB by default
MAX_ID_DIGITS = 18  # numbers of this length fit into 64 bits


def redact_message(message: Message) -> Payload:
    """Return a message as plain data without its secret fields, at any depth."""
    hidden = secret_fields(type(message))
    return {name: _redact_value(value) for name, value in message if name not in hidden}


def _redact_value(value: object) -> object:
    match value:
        case Message():
            return redact_message(value)
        case tuple() | list():
            return [_redact_value(item) for item in value]
        case dict():
            return {name: _redact_value(item) for name, item in value.items()}
        case _:
            return value


class HistoryQueries:
    """Handlers of the history queries, which every service answers for its own streams."""

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption, categories: Sequence[AnyCategory]) -> None:
        self._commits = database["commits"]
        self._streams = database["streams"]
        self._vault = vault
        self._categories = {category.name: category for category in categories}
        self.handlers: tuple[AnyHandler, ...] = (
            Handler(GetHistory, self.get_history),
            Handler(GetState, self.get_state),
        )

    async def get_history(self, _context: Context | None, query: GetHistory) -> History:
        head = await self._find_head(query)
        versions = {"$lt" if query.newest_first and query.after else "$gt": query.after}
        order = DESCENDING if query.newest_first else ASCENDING
        cursor = self._commits.find({"stream": head["_id"], "version": versions}, limit=query.limit + 1)
        entries: list[HistoryEntry] = []
        size, has_more = 0, False
        async for document in cursor.sort("version", order):
            entry = await self._to_entry(document)
            size += len(entry.model_dump_json())
            has_more = bool(entries) and (len(entries) == query.limit or size > MAX_ENTRIES_BYTES)
            if has_more:
                break
            entries.append(entry)
        return History(
            kind=query.kind,
            id=query.id,
            version=head["version"],
            entries=tuple(entries),
            next=entries[-1].version if has_more else None,
        )

    async def get_state(self, context: Context, query: GetState) -> StreamState:
        category = self._categories[query.kind]
        until: Document = {"version": {"$lte": query.version}}
        if query.at:  # without a time all events count, also those of a replica whose clock is ahead
            until["at"] = {"$lte": query.at}
        stream = (await self._find_head(query))["_id"]
        row, last = category.initial_row, None
        async for document in self._commits.find({"stream": stream, **until}).sort("version", ASCENDING):
            last = document
            for recorded in await from_document(document, self._vault):
                row = category.apply(row, recorded)
        if last is None:
            raise RequestRejected("HISTORY_NOT_FOUND", "It did not exist at that time.")
        return StreamState(
            kind=query.kind,
            id=query.id,
            at=query.at or max(context.metadata.at, last["at"]),
            version=last["version"],
            changed_at=last["at"],
            state=None if category.is_deleted(row) else redact_message(row),
        )

    async def _to_entry(self, document: Document) -> HistoryEntry:
        metadata = read_metadata(document)
        events = await from_document(document, self._vault)
        return HistoryEntry(
            version=document["version"],
            at=metadata.at,
            actor=ActorRef(id=metadata.actor.id, name=metadata.actor.name),
            command=metadata.command,
            trace_id=metadata.traceparent.split("-")[1] if metadata.traceparent else "",
            events=tuple(
                EventEntry(name=recorded.event.wire_name, data=redact_message(recorded.event)) for recorded in events
            ),
        )

    async def _find_head(self, query: StreamQuery) -> Document:
        """Find a stream by its id, or else by the numeric id or UUID of its row.

        Deleted objects have no row, so only the stream's id finds them.
        """
        if query.kind not in self._categories:
            raise RequestRejected("HISTORY_KIND_UNKNOWN")
        fields = {"version": 1}
        head = await self._streams.find_one({"_id": f"{query.kind}-{query.id}"}, fields)
        if head is None and (row := self._row_filter(self._categories[query.kind], query.id)):
            head = await self._streams.find_one(row, fields)
        if head is None:
            raise RequestRejected("HISTORY_NOT_FOUND")
        return head

    def _row_filter(self, category: AnyCategory, id_: str) -> Document | None:
        """Return the filter for a row's numeric id or UUID.

        Return None if the field has no index, because the query would scan the collection.
        """
        is_number = id_.isascii() and id_.isdigit() and len(id_) <= MAX_ID_DIGITS
        name, value = ("id", int(id_)) if is_number else ("uuid", id_.lower())
        field = category.row_field
        return {field: ROW_EXISTS, f"{field}.{name}": value} if (name,) in category.indexes else None
