"""Whether a dump holds something of everything: each type of event, each collection, each durable consumer."""

import re
from collections.abc import Iterator
from pathlib import Path

import services as packages
from contracts.messages import Event
from infra.migrate import all_services
from libs.service import Service
from libs.views import view_collection
from libs.workers import consumer_name
from tests.golden.dump import documents
from tests.golden.jetstream import streams

ABSENT_EVENTS: dict[str, str] = {}
ABSENT_COLLECTIONS = {
    "handled": "is only in a system that was restored from a backup",
    "restore": "is only there while a backup is being restored",
    "drawn_passwords": "is only there where no password was set for the first administrator",
}
OF_EVERY_SERVICE = ("commits", "streams", "relay", "views", "data_keys")
COLLECTION = re.compile(r"collection\(\"(\w+)\"\)")


def missing(folder: Path) -> list[str]:
    """What is missing in the dump, with one line for each; empty if it is complete."""
    found = list(documents(folder / "databases.bson.gz"))
    events = {event["name"] for _, name, document in found if name == "commits" for event in document["events"]}
    collections = {(service, name) for service, name, _ in found}
    durables = {one["name"] for stream in streams(folder / "streams.bson.gz") for one in stream.consumers}
    wanted = {(one.name, name) for one in all_services() for name in collections_of(one)}
    expected = {consumer_name(one.name, worker) for one in all_services() for worker in one.workers}
    return [
        *(f"no event {name}" for name in sorted(event_names() - events - set(ABSENT_EVENTS))),
        *(f"nothing in {service}.{name}" for service, name in sorted(wanted - collections)),
        *(f"no durable consumer {name}" for name in sorted(expected - durables)),
    ]


def event_names() -> set[str]:
    return {one.wire_name for one in _below(Event)}


def _below(base: type[Event]) -> Iterator[type[Event]]:
    for one in base.__subclasses__():
        if one.__module__.startswith("contracts."):
            yield one
        yield from _below(one)


def collections_of(service: Service) -> set[str]:
    """Those that it declares, and those that its functions name."""
    folder = Path(str(packages.__path__[0])) / service.name
    named = {name for file in folder.rglob("*.py") for name in COLLECTION.findall(file.read_text())}
    views = {view_collection(one) for one in service.views}
    followers = {"followers"} if service.policies or service.views else set()
    every = {*OF_EVERY_SERVICE, *service.indexes, *service.passing, *views, *followers, *named}
    return every - set(ABSENT_COLLECTIONS)
