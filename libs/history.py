"""History: what the log says of one stream, and its row as it was at a moment, without secrets."""

from collections.abc import Sequence
from typing import Any

from pymongo import ASCENDING, DESCENDING
from pymongo.asynchronous.database import AsyncDatabase

from contracts.errors import Refused
from contracts.history import AboutOne, Acting, Entry, GetHistory, GetState, Happened, History, State
from contracts.messages import Message, secret_fields
from libs.deciding import Category
from libs.eventstore.documents import Document, cause_of, from_document
from libs.rows import PRESENT
from libs.security.sealing import Sealing
from libs.service import Answer, Context

LARGEST = 512 * 1024  # bytes of an answer's entries; the message bus takes 1 MiB where nobody raised the limit
LONGEST_NUMBER = 18  # digits that fit into 64 bits


def shown(value: Any) -> Any:
    """A message as people may read it: secret fields are left out, however deep they lie."""
    match value:
        case Message():
            hidden = secret_fields(type(value))
            return {name: shown(inner) for name, inner in value if name not in hidden}
        case tuple() | list():
            return [shown(inner) for inner in value]
        case dict():
            return {name: shown(inner) for name, inner in value.items()}
        case _:
            return value


class Histories:
    """The same answers in every service, each about its own streams."""

    def __init__(
        self, database: AsyncDatabase[Document], vault: Sealing, categories: Sequence[Category[Any, Any, Any, Any]]
    ) -> None:
        self._commits = database["commits"]
        self._streams = database["streams"]
        self._vault = vault
        self._categories = {category.name: category for category in categories}
        self.answers: dict[type[Message], Answer] = {GetHistory: self.history, GetState: self.state}

    async def history(self, _context: Context | None, query: GetHistory) -> History:
        head = await self._head(query)
        versions = {"$lt" if query.newest_first and query.after else "$gt": query.after}
        order = DESCENDING if query.newest_first else ASCENDING
        wanted = self._commits.find({"stream": head["_id"], "version": versions}, limit=query.limit + 1)
        entries: list[Entry] = []
        size, more = 0, False
        async for document in wanted.sort("version", order):
            entry = await self._entry(document)
            size += len(entry.model_dump_json())
            more = bool(entries) and (len(entries) == query.limit or size > LARGEST)
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

    async def state(self, context: Context, query: GetState) -> State:
        category = self._categories[query.kind]
        until: Document = {"version": {"$lte": query.version}}
        if query.at:  # without it all that was recorded counts, also by a replica whose clock is ahead
            until["at"] = {"$lte": query.at}
        log = self._commits.find({"stream": (await self._head(query))["_id"], **until}).sort("version", ASCENDING)
        row, last = category.row, None
        async for document in log:
            last = document
            for recorded in await from_document(document, self._vault):
                row = category.fold(row, recorded)
        if last is None:
            raise Refused("HISTORY_NOT_FOUND", "It was not there yet at that time.")
        return State(
            kind=query.kind,
            id=query.id,
            at=query.at or max(context.cause.at, last["at"]),
            version=last["version"],
            changed_at=last["at"],
            state=None if category.gone(row) else shown(row),
        )

    async def _entry(self, document: Document) -> Entry:
        cause = cause_of(document)
        return Entry(
            version=document["version"],
            at=cause.at,
            actor=Acting(id=cause.actor.id, name=cause.actor.name),
            command=cause.command,
            trace_id=cause.traceparent.split("-")[1] if cause.traceparent else "",
            events=tuple(
                Happened(name=one.event.wire_name, data=shown(one.event))
                for one in await from_document(document, self._vault)
            ),
        )

    async def _head(self, query: AboutOne) -> Document:
        """By the stream's own id, which also finds what was deleted, or by the other one that its rows are found by."""
        if query.kind not in self._categories:
            raise Refused("HISTORY_KIND_UNKNOWN")
        fields = {"version": 1}
        head = await self._streams.find_one({"_id": f"{query.kind}-{query.id}"}, fields)
        if head is None and (row := self._row(self._categories[query.kind], query.id)):
            head = await self._streams.find_one(row, fields)
        if head is None:
            raise Refused("HISTORY_NOT_FOUND")
        return head

    def _row(self, category: Category[Any, Any, Any, Any], id_: str) -> Document | None:
        """Only where an index helps: nobody shall make us read all streams for an id that is not there."""
        is_number = id_.isascii() and id_.isdigit() and len(id_) <= LONGEST_NUMBER
        name, value = ("id", int(id_)) if is_number else ("uuid", id_.lower())
        field = category.row_field
        return {field: PRESENT, f"{field}.{name}": value} if (name,) in category.indexes else None
