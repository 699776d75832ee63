"""The migration step: JetStream streams, consumers of workers, collections and indexes; harmless to run twice."""

from collections.abc import Sequence
from typing import Any

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError
from pymongo.asynchronous.database import AsyncDatabase

from libs.eventstore.documents import Document
from libs.eventstore.mongo import prepare_database
from libs.indexes import ensure_index
from libs.mirrors import mirror
from libs.rebuilding import rebuild_rows
from libs.schema import indexes_of
from libs.security.sealing import Sealing
from libs.service import Service, Worker
from libs.streams import made
from libs.workers import consumer_name, filter_subjects

DUPLICATE_WINDOW = 120.0  # seconds; the relay's fence is the expected sequence, this only helps


async def migrate(
    services: Sequence[Service],
    databases: Sequence[AsyncDatabase[Document]],
    vaults: Sequence[Sealing],
    nats: Client,
    *,
    replicas: int = 1,
) -> list[str]:
    """Make everything that the services need; returns what was done, in words."""
    done = []
    for service in services:  # all streams first: consumers of one service hang on the stream of another
        done += await _stream(service, nats, replicas)
    for service, database, vault in zip(services, databases, vaults, strict=True):
        done += [await place_consumer(service.name, worker, nats) for worker in service.workers]
        done += await _database(service, database, vault)
    return done


async def pending(service: Service, database: AsyncDatabase[Document], nats: Client) -> str | None:
    """What the service waits for, in words; None when it can start."""
    js = nats.jetstream()
    try:
        await js.stream_info(service.name)
        for worker in service.workers:
            await js.consumer_info(worker.source, consumer_name(service.name, worker))
        for source in {*service.policies, *(view.source for view in service.views)}:
            await js.stream_info(source)
    except NotFoundError:
        return "a JetStream stream or consumer is missing"
    versions = {one["_id"]: one["version"] async for one in database["views"].find({})}
    for category in service.categories:
        if versions.get(category.name, 0) < category.row_version:
            return f"the rows of {category.name} are not built in version {category.row_version}"
    return None


async def _stream(service: Service, nats: Client, replicas: int) -> list[str]:
    js = nats.jetstream()
    config = StreamConfig(
        name=service.name,
        subjects=[f"evt.{service.name}.>"],
        description=f"Events of the service {service.name}",
        duplicate_window=DUPLICATE_WINDOW,
        num_replicas=replicas,
    )
    try:
        present = await js.stream_info(service.name)
    except NotFoundError:
        present = await made(js, config)
        done = f"stream {service.name} made"
    else:
        done = ""
        if (present.config.subjects, present.config.num_replicas) != (config.subjects, config.num_replicas):
            present = await js.update_stream(config)
            done = f"stream {service.name} updated"
    mirrored = await mirror(nats, present) if service.public else None
    return [one for one in (done, mirrored) if one]


async def place_consumer(service: str, worker: Worker, nats: Client) -> str:
    """Add or update: a durable that exists would silently keep its old settings."""
    js = nats.jetstream()
    name = consumer_name(service, worker)
    subjects = filter_subjects(worker)
    one = {"filter_subject": subjects[0]} if len(subjects) == 1 else {"filter_subjects": subjects}
    config: dict[str, Any] = {
        "durable_name": name,
        "ack_policy": AckPolicy.EXPLICIT,
        "ack_wait": worker.patience,
        "max_deliver": -1,
        "max_ack_pending": 1000,
        **one,
    }
    await js.add_consumer(worker.source, ConsumerConfig(**config))
    return f"consumer {name} of stream {worker.source} in place"


async def _database(service: Service, database: AsyncDatabase[Document], vault: Sealing) -> list[str]:
    await prepare_database(database)
    for index in indexes_of(service):
        await ensure_index(database, index)
    done = []
    for category in service.categories:
        known = await database["views"].find_one({"_id": category.name})
        if known is None or known["version"] < category.row_version:
            built = await rebuild_rows(database, category, vault)
            await database["views"].replace_one({"_id": category.name}, {"version": category.row_version}, upsert=True)
            done.append(f"rows of {service.name}.{category.name} in version {category.row_version}: {built}")
    return done
