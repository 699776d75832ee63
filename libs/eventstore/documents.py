"""Events as MongoDB documents, with personal fields sealed under the stream's own key."""

from datetime import datetime
from typing import Any

from contracts.messages import Event, Payload, event_from, personal_fields
from libs.deciding import Actor, Cause, Recorded
from libs.eventstore.store import Commit, Decision
from libs.security.erased import Erased
from libs.security.sealing import Sealing

Document = dict[str, Any]
ERASED = ""


async def to_document(decision: Decision, vault: Sealing) -> Document:
    """One commit document: a decision with all its events."""
    cause = decision.cause
    return {
        "_id": cause.command_id,
        "stream": decision.stream,
        "version": decision.version,
        "at": cause.at,
        "command": cause.command,
        "actor": {"id": cause.actor.id, "name": cause.actor.name},
        "trace": cause.traceparent,
        "events": [await _sealed(decision.stream, event, vault) for event in decision.events],
        **({"fingerprint": cause.fingerprint} if cause.fingerprint else {}),
    }


FOUND = {"stream": 1, "version": 1, "fingerprint": 1}


def commit_of(document: Document) -> Commit:
    return Commit(document["stream"], document["version"], document.get("fingerprint", ""))


async def _sealed(stream: str, event: Event, vault: Sealing) -> Document:
    payload: Payload = event.model_dump()
    for name in event.personal:
        if payload[name]:
            payload[name] = await vault.seal(stream, payload[name])
    return {"name": event.wire_name, "version": event.schema_version, "data": payload}


async def from_document(document: Document, vault: Sealing | None) -> list[Recorded[Any]]:
    """The events of a commit document. Without a vault personal fields stay sealed."""
    cause = cause_of(document)
    return [
        Recorded(
            document["stream"], document["version"], index, await _opened(document["stream"], stored, vault), cause
        )
        for index, stored in enumerate(document["events"])
    ]


def cause_of(document: Document) -> Cause:
    at: datetime = document["at"]
    actor = Actor(document["actor"]["id"], document["actor"]["name"])
    return Cause(document["_id"], at, actor, document["command"], document["trace"])


async def _opened(stream: str, stored: Document, vault: Sealing | None) -> Event:
    payload: Payload = stored["data"]
    if vault is not None:
        for name in personal_fields(stored["name"]):
            if payload.get(name):
                try:
                    payload[name] = await vault.open(stream, payload[name])
                except Erased:
                    payload[name] = ERASED
    return event_from(stored["name"], stored["version"], payload)
