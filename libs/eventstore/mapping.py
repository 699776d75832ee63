"""Events as MongoDB documents, with personal fields sealed under the stream's own key."""

from datetime import datetime
from typing import Any

from contracts.messages import Event, Payload, parse_event, personal_fields
from libs.eventstore.decider import Actor, CommandMetadata, RecordedEvent
from libs.eventstore.store import CommitRef, PendingCommit
from libs.security.envelope_encryption import Encryption
from libs.security.erased_keys import KeyErased

Document = dict[str, Any]
ERASED_PLACEHOLDER = ""


async def to_document(commit: PendingCommit, vault: Encryption) -> Document:
    """One commit document: a decision with all its events."""
    cause = commit.metadata
    return {
        "_id": cause.command_id,
        "stream": commit.stream,
        "version": commit.version,
        "at": cause.at,
        "command": cause.command,
        "actor": {"id": cause.actor.id, "name": cause.actor.name},
        "trace": cause.traceparent,
        "events": [await _encrypt_event(commit.stream, event, vault) for event in commit.events],
        **({"fingerprint": cause.fingerprint} if cause.fingerprint else {}),
    }


REF_FIELDS = {"stream": 1, "version": 1, "fingerprint": 1}


def read_commit_ref(document: Document) -> CommitRef:
    return CommitRef(document["stream"], document["version"], document.get("fingerprint", ""))


async def _encrypt_event(stream: str, event: Event, vault: Encryption) -> Document:
    payload: Payload = event.model_dump()
    for name in event.personal:
        if payload[name]:
            payload[name] = await vault.encrypt(stream, payload[name])
    return {"name": event.wire_name, "version": event.schema_version, "data": payload}


async def from_document(document: Document, vault: Encryption | None) -> list[RecordedEvent[Any]]:
    """The events of a commit document. Without a vault personal fields stay sealed."""
    cause = read_metadata(document)
    return [
        RecordedEvent(
            document["stream"],
            document["version"],
            index,
            await _decrypt_event(document["stream"], stored, vault),
            cause,
        )
        for index, stored in enumerate(document["events"])
    ]


def read_metadata(document: Document) -> CommandMetadata:
    at: datetime = document["at"]
    actor = Actor(document["actor"]["id"], document["actor"]["name"])
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
