"""The migration step: JetStream streams, consumers of workers, collections and indexes; harmless to run twice."""

from collections.abc import Sequence
from typing import Any

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError
from pymongo.asynchronous.database import AsyncDatabase

from libs.eventstore.indexes import ensure_index
from libs.eventstore.mapping import Document
from libs.eventstore.mongo import create_schema
from libs.messaging.jetstream import create_stream
from libs.messaging.stream_mirrors import ensure_mirror
from libs.messaging.worker_names import consumer_name, filter_subjects
from libs.projections.rebuild import rebuild_rows
from libs.projections.schema import list_indexes
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import Service, Worker

DUPLICATE_WINDOW_SECONDS = 120.0  # seconds; the relay's fence is the expected sequence, this only helps


async def migrate(
    services: Sequence[Service],
    databases: Sequence[AsyncDatabase[Document]],
    vaults: Sequence[Encryption],
    nats: Client,
    *,
    replicas: int = 1,
) -> list[str]:
    """Make everything that the services need; returns what was done, in words."""
    done = []
    for service in services:  # all streams first: consumers of one service hang on the stream of another
        done += await _ensure_stream(service, nats, replicas)
    for service, database, vault in zip(services, databases, vaults, strict=True):
        done += [await ensure_consumer(service.name, worker, nats) for worker in service.workers]
        done += await _ensure_database(service, database, vault)
    return done


async def find_pending(service: Service, database: AsyncDatabase[Document], nats: Client) -> str | None:
    """What the service waits for, in words; None when it can start."""
    js = nats.jetstream()
    try:
        await js.stream_info(service.name)
        for worker in service.workers:
            await js.consumer_info(worker.source, consumer_name(service.name, worker))
        for source in {*service.policies, *(view.source for view in service.projections)}:
            await js.stream_info(source)
    except NotFoundError:
        return "a JetStream stream or consumer is missing"
    versions = {one["_id"]: one["version"] async for one in database["views"].find({})}
    for category in service.categories:
        if versions.get(category.name, 0) < category.row_version:
            return f"the rows of {category.name} are not built in version {category.row_version}"
    return None


async def _ensure_stream(service: Service, nats: Client, replicas: int) -> list[str]:
    js = nats.jetstream()
    config = StreamConfig(
        name=service.name,
        subjects=[f"evt.{service.name}.>"],
        description=f"Events of the service {service.name}",
        duplicate_window=DUPLICATE_WINDOW_SECONDS,
        num_replicas=replicas,
    )
    try:
        present = await js.stream_info(service.name)
    except NotFoundError:
        present = await create_stream(js, config)
        done = f"stream {service.name} made"
    else:
        done = ""
        if (present.config.subjects, present.config.num_replicas) != (config.subjects, config.num_replicas):
            present = await js.update_stream(config)
            done = f"stream {service.name} updated"
    mirrored = await ensure_mirror(nats, present) if service.is_public else None
    return [one for one in (done, mirrored) if one]


async def ensure_consumer(service: str, worker: Worker, nats: Client) -> str:
    """Add or update: a durable that exists would silently keep its old settings."""
    js = nats.jetstream()
    name = consumer_name(service, worker)
    subjects = filter_subjects(worker)
    one = {"filter_subject": subjects[0]} if len(subjects) == 1 else {"filter_subjects": subjects}
    config: dict[str, Any] = {
        "durable_name": name,
        "ack_policy": AckPolicy.EXPLICIT,
        "ack_wait": worker.ack_wait_seconds,
        "max_deliver": -1,
        "max_ack_pending": 1000,
        **one,
    }
    await js.add_consumer(worker.source, ConsumerConfig(**config))
    return f"consumer {name} of stream {worker.source} in place"


async def _ensure_database(service: Service, database: AsyncDatabase[Document], vault: Encryption) -> list[str]:
    await create_schema(database)
    for index in list_indexes(service):
        await ensure_index(database, index)
    done = []
    for category in service.categories:
        known = await database["views"].find_one({"_id": category.name})
        if known is None or known["version"] < category.row_version:
            built = await rebuild_rows(database, category, vault)
            await database["views"].replace_one({"_id": category.name}, {"version": category.row_version}, upsert=True)
            done.append(f"rows of {service.name}.{category.name} in version {category.row_version}: {built}")
    return done
