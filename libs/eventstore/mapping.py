"""Mapping of commits to MongoDB documents and writes, with personal fields encrypted under the stream's own key."""

from collections.abc import Sequence
from datetime import datetime

from pymongo import UpdateOne

from contracts.messages import Event, Payload, parse_event, personal_fields
from libs.documents import Document, Filter
from libs.eventstore.decider import Actor, AnyEvent, CommandMetadata, RecordedEvent
from libs.eventstore.store import CommitRef, PendingCommit
from libs.security.envelope_encryption import Encryption
from libs.security.erased_keys import KeyErased

ERASED_PLACEHOLDER = ""
REACTION_ID = "reaction_id"
REF_FIELDS = {"stream": 1, "version": 1, "fingerprint": 1, REACTION_ID: 1}
DELETED_AT = "deleted_at"  # field of a head: time of the stream's deletion, after which it is removed from the log
PURGE_AT = "purge_at"  # field of a tombstone: time after which the other commits of its stream are deleted


async def to_document(commit: PendingCommit, vault: Encryption) -> Document:
    metadata = commit.metadata
    return {
        "_id": metadata.command_id,
        "stream": commit.stream,
        "version": commit.version,
        "at": metadata.at,
        "command": metadata.command,
        "actor": {"id": metadata.actor.id, "name": metadata.actor.as_recorded.name},
        "trace": metadata.traceparent,
        "events": [await _encrypt_event(commit.stream, event, vault) for event in commit.events],
        **({"fingerprint": metadata.fingerprint} if metadata.fingerprint else {}),
        **({REACTION_ID: metadata.reaction_id} if metadata.reaction_id else {}),
    }


def commits_filter(commands: Sequence[CommandMetadata]) -> Filter:
    """Return the filter for the commits of these commands, which may have been recorded under either of their ids."""
    by_id: Filter = {"_id": {"$in": [metadata.command_id for metadata in commands]}}
    reaction_ids = [metadata.reaction_id for metadata in commands if metadata.reaction_id]
    return {"$or": [by_id, {REACTION_ID: {"$in": reaction_ids}}]} if reaction_ids else by_id


def is_tombstone(document: Document) -> bool:
    """Return whether the commit is the tombstone of a removed stream: the only kind of commit without events."""
    return not document["events"]


def read_commit_ref(document: Document) -> CommitRef:
    return CommitRef(document["stream"], document["version"], document.get("fingerprint", ""))


async def _encrypt_event(stream: str, event: Event, vault: Encryption) -> Document:
    payload: Payload = event.model_dump()
    for name in event.personal:
        if payload[name]:
            payload[name] = await vault.encrypt(stream, payload[name])
    return {"name": event.wire_name, "version": event.schema_version, "data": payload}


async def from_document(document: Document, vault: Encryption | None) -> list[AnyEvent]:
    """Return the events of a commit document. Without a vault, personal fields stay encrypted."""
    stream, version, metadata = document["stream"], document["version"], read_metadata(document)
    return [
        RecordedEvent(stream, version, index, await _decrypt_event(stream, stored, vault), metadata)
        for index, stored in enumerate(document["events"])
    ]


def read_metadata(document: Document) -> CommandMetadata:
    at: datetime = document["at"]
    # releases up to 0.2.0 recorded the names of users
    actor = Actor(document["actor"]["id"], document["actor"]["name"]).as_recorded
    return CommandMetadata(document["_id"], at, actor, document["command"], document["trace"])


async def _decrypt_event(stream: str, stored: Document, vault: Encryption | None) -> Event:
    payload: Payload = stored["data"]
    if vault is not None:
        for name in personal_fields(stored["name"]):
            if payload.get(name):
                try:
                    payload[name] = await vault.decrypt(stream, payload[name])
                except KeyErased:
                    payload[name] = ERASED_PLACEHOLDER
    return parse_event(stored["name"], stored["version"], payload)


def head_write(commit: PendingCommit) -> UpdateOne:
    category, row = commit.category, commit.row
    head = {
        "version": commit.version,
        "commit": commit.metadata.command_id,
        category.row_field: row.model_dump() if row is not None else None,
        category.row_version_field: category.row_version,
    }
    if previous := category.previous_row:
        converted = previous.convert(row) if row is not None else None
        head[previous.field_name(category.name)] = converted.model_dump() if converted is not None else None
    if row is None and category.is_removable:
        head[DELETED_AT] = commit.metadata.at
    if commit.expected_version == 0:
        # an upsert leaves an existing stream unchanged, whereas an insert would abort the whole transaction
        return UpdateOne({"_id": commit.stream}, {"$setOnInsert": head}, upsert=True)
    return UpdateOne({"_id": commit.stream, "version": commit.expected_version}, {"$set": head})
