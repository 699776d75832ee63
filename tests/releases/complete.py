"""Whether a dump holds something of everything: each type of event, each collection, each durable consumer."""

import re
from collections.abc import Iterator
from pathlib import Path

import services as packages
from contracts.messages import Event
from infra.migration import load_services
from libs.messaging.worker_names import consumer_name
from libs.projections.projector import projection_collection
from libs.service.declaration import Service
from tests.releases.dump import read_documents
from tests.releases.jetstream import read_streams

ABSENT_EVENTS: dict[str, str] = {}
ABSENT_COLLECTIONS = {
    "handled": "is only in a system that was restored from a backup",
    "restore": "is only there while a backup is being restored",
    "drawn_passwords": "is only there where no password was set for the first administrator",
}
COMMON_COLLECTIONS = ("commits", "streams", "relay", "views", "data_keys")
COLLECTION_CALL = re.compile(r"collection\(\"(\w+)\"\)")


def find_missing(folder: Path) -> list[str]:
    """What is missing in the dump, with one line for each; empty if it is complete."""
    found = list(read_documents(folder / "databases.bson.gz"))
    events = {event["name"] for _, name, document in found if name == "commits" for event in document["events"]}
    collections = {(service, name) for service, name, _ in found}
    durables = {one["name"] for stream in read_streams(folder / "streams.bson.gz") for one in stream.consumers}
    wanted = {(one.name, name) for one in load_services() for name in list_collections(one)}
    expected = {consumer_name(one.name, worker) for one in load_services() for worker in one.workers}
    return [
        *(f"no event {name}" for name in sorted(list_event_names() - events - set(ABSENT_EVENTS))),
        *(f"nothing in {service}.{name}" for service, name in sorted(wanted - collections)),
        *(f"no durable consumer {name}" for name in sorted(expected - durables)),
    ]


def list_event_names() -> set[str]:
    return {one.wire_name for one in _subclasses_of(Event)}


def _subclasses_of(base: type[Event]) -> Iterator[type[Event]]:
    for one in base.__subclasses__():
        if one.__module__.startswith("contracts."):
            yield one
        yield from _subclasses_of(one)


def list_collections(service: Service) -> set[str]:
    """Those that it declares, and those that its functions name."""
    folder = Path(str(packages.__path__[0])) / service.name
    named = {name for file in folder.rglob("*.py") for name in COLLECTION_CALL.findall(file.read_text())}
    views = {projection_collection(one) for one in service.projections}
    followers = {"followers"} if service.policies or service.projections else set()
    every = {*COMMON_COLLECTIONS, *service.indexes, *service.ttl_collections, *views, *followers, *named}
    return every - set(ABSENT_COLLECTIONS)
