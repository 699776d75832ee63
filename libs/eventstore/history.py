"""Queries over the log: the history of one stream, its row at a version or time, and the log itself for projections.

Secrets are left out of histories and rows.
"""

from collections.abc import Mapping, Sequence

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
    LogPage,
    ReadEventLog,
    StreamQuery,
    StreamState,
)
from contracts.messages import Message, Payload, secret_fields
from libs.documents import Document
from libs.eventstore.decider import AnyCategory
from libs.eventstore.mapping import from_document, is_tombstone, read_metadata
from libs.projections.read_model import ROW_EXISTS
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import AnyHandler, Context, Handler
from libs.subscriptions.event_log import answer_read_log

MAX_ENTRIES_BYTES = 512 * 1024  # JSON of the entries in one reply; fits into a message of 1 MiB, NATS's default
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


def _named(actor: ActorRef, names: Mapping[int, str]) -> ActorRef:
    return actor.replace(name=names[actor.id]) if actor.id else actor


def _require_kept(commit: Document) -> None:
    if is_tombstone(commit):
        raise RequestRejected("HISTORY_NOT_FOUND", "The object was deleted, and its events left the event log.")


class HistoryQueries:
    """Handlers of the history queries, which every service answers for its own streams."""

    def __init__(self, database: AsyncDatabase[Document], vault: Encryption, categories: Sequence[AnyCategory]) -> None:
        self._database = database
        self._commits = database["commits"]
        self._streams = database["streams"]
        self._vault = vault
        self._categories = {category.name: category for category in categories}
        self.handlers: tuple[AnyHandler, ...] = (
            Handler(GetHistory, self.get_history),
            Handler(GetState, self.get_state),
            Handler(ReadEventLog, self.read_log),
        )

    async def get_history(self, context: Context, query: GetHistory) -> History:
        head = await self._find_head(query)
        versions = {"$lt" if query.newest_first and query.after else "$gt": query.after}
        order = DESCENDING if query.newest_first else ASCENDING
        cursor = self._commits.find({"stream": head["_id"], "version": versions}, limit=query.limit + 1)
        entries: list[HistoryEntry] = []
        size, has_more = 0, False
        async for document in cursor.sort("version", order):
            _require_kept(document)
            entry = await self._to_entry(document)
            size += len(entry.model_dump_json())
            has_more = bool(entries) and (len(entries) == query.limit or size > MAX_ENTRIES_BYTES)
            if has_more:
                break
            entries.append(entry)
        names = await context.get_usernames({entry.actor.id for entry in entries if entry.actor.id})
        entries = [entry.replace(actor=_named(entry.actor, names)) for entry in entries]
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
        if query.at:  # without a time, all events count, even if a replica whose clock is ahead recorded them
            until["at"] = {"$lte": query.at}
        stream = (await self._find_head(query))["_id"]
        row, last = category.initial_row, None
        async for document in self._commits.find({"stream": stream, **until}).sort("version", ASCENDING):
            _require_kept(document)
            last = document
            for recorded in await from_document(document, self._vault):
                row = category.apply(row, recorded)
        if last is None:
            raise RequestRejected("HISTORY_NOT_FOUND", "The object did not exist at that time.")
        return StreamState(
            kind=query.kind,
            id=query.id,
            at=query.at or max(context.metadata.at, last["at"]),
            version=last["version"],
            changed_at=last["at"],
            state=None if category.is_deleted(row) else redact_message(row),
        )

    async def read_log(self, _context: Context, query: ReadEventLog) -> LogPage:
        return await answer_read_log(self._database, query)

    async def _to_entry(self, document: Document) -> HistoryEntry:
        metadata = read_metadata(document)
        events = await from_document(document, self._vault)
        return HistoryEntry(
            version=document["version"],
            at=metadata.at,
            actor=ActorRef(id=metadata.actor.id, name=metadata.actor.name),
            command=metadata.command,
            trace_id=metadata.trace_id,
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
            first = await self._commits.find_one({"stream": f"{query.kind}-{query.id}", "version": 1})
            if first is not None:
                _require_kept(first)
            raise RequestRejected("HISTORY_NOT_FOUND")
        return head

    def _row_filter(self, category: AnyCategory, id_: str) -> Document | None:
        """Return the filter for a row's numeric id or UUID.

        Return None if the category has no index on that field, because the query would scan the collection.
        """
        is_number = id_.isascii() and id_.isdigit() and len(id_) <= MAX_ID_DIGITS
        name, value = ("id", int(id_)) if is_number else ("uuid", id_.lower())
        field = category.row_field
        return {field: ROW_EXISTS, f"{field}.{name}": value} if (name,) in category.indexes else None
