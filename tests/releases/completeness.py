"""Check that a dump contains every type of event, collection and durable consumer, except those listed as absent."""

import re
from collections.abc import Iterator
from pathlib import Path

import services as packages
from contracts.messages import Event
from infra.service_catalog import load_services
from libs.projections.projector import projection_collection
from libs.service.declaration import Service
from tests.releases.dump import read_documents
from tests.releases.jetstream import read_streams

EARLIER_EVENTS = (
    *("AdministratorAnchored", "DeliveryRefused", "SecretRenamed", "SecretLabelled", "SecretEscapedCharactersChanged"),
    *("ProjectRenamed", "ProjectDescribed", "ProjectBranchChanged", "ProjectSpecFilePathChanged"),
    *("ProjectRetentionChanged", "ProjectConcurrencyChanged", "ProjectBranchesProtected"),
    *("ProjectCredentialChosen", "ProjectExecutorChosen"),
)
ABSENT_EVENTS = dict.fromkeys(EARLIER_EVENTS, "is not recorded after 0.2.0; the dump of that release has it")
ABSENT_COLLECTIONS = {
    "recent_ends": "has a document only in the first seconds after the end of a build",
    "handled": "is only in a system that was restored from a backup",
    "restore": "is only there while a backup is being restored",
    "drawn_passwords": "is only there where no password was set for the first administrator",
}
COMMON_COLLECTIONS = ("commits", "streams", "relay", "views", "data_keys")
COLLECTION_CALL = re.compile(r"collection\(\"(\w+)\"\)")


def find_missing(folder: Path) -> list[str]:
    """Return one line for each event, collection and durable consumer that the dump lacks."""
    documents = list(read_documents(folder / "databases.bson.gz"))
    events = {event["name"] for _, name, document in documents if name == "commits" for event in document["events"]}
    collections = {(service, name) for service, name, _ in documents}
    durables = {
        consumer["name"] for stream in read_streams(folder / "streams.bson.gz") for consumer in stream.consumers
    }
    expected_collections = {(service.name, name) for service in load_services() for name in list_collections(service)}
    expected_durables = {
        worker.consumer_name(service.name) for service in load_services() for worker in service.workers
    }
    return [
        *(f"no event {name}" for name in sorted(list_event_names() - events - set(ABSENT_EVENTS))),
        *(f"nothing in {service}.{name}" for service, name in sorted(expected_collections - collections)),
        *(f"no durable consumer {name}" for name in sorted(expected_durables - durables)),
    ]


def list_event_names() -> set[str]:
    return {event.wire_name for event in _subclasses_of(Event)}


def _subclasses_of(base: type[Event]) -> Iterator[type[Event]]:
    for subclass in base.__subclasses__():
        if subclass.__module__.startswith("contracts."):
            yield subclass
        yield from _subclasses_of(subclass)


def list_collections(service: Service) -> set[str]:
    """Return the collections that the service declares or opens by name, except ABSENT_COLLECTIONS."""
    folder = Path(str(packages.__path__[0])) / service.name
    named = {name for file in folder.rglob("*.py") for name in COLLECTION_CALL.findall(file.read_text())}
    views = {projection_collection(projection) for projection in service.projections}
    followers = {"followers"} if service.followed_sources else set()
    every = {*COMMON_COLLECTIONS, *service.indexes, *service.ttl_collections, *views, *followers, *named}
    return every - set(ABSENT_COLLECTIONS)
