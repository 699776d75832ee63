"""The migration step: create JetStream streams, worker consumers, collections and indexes, and rebuild outdated rows.

It also removes what no supported release reads. The step is idempotent.
"""

from collections.abc import Sequence

from nats.aio.client import Client
from nats.js.api import AckPolicy, ConsumerConfig, StreamConfig
from nats.js.errors import NotFoundError
from pymongo.asynchronous.database import AsyncDatabase

from libs.documents import Document
from libs.eventstore.indexes import ensure_indexes
from libs.eventstore.mongo import create_unindexed_collections
from libs.messaging.jetstream import create_stream
from libs.messaging.stream_mirrors import ensure_mirror
from libs.projections.obsolete_data import remove_obsolete_data
from libs.projections.rebuild import rebuild_rows
from libs.projections.schema import list_indexes
from libs.retention.balances import create_balance
from libs.retention.stream_removal import mark_deleted_streams
from libs.security.envelope_encryption import Encryption
from libs.service.declaration import AnyWorker, Service

# JetStream drops repeated message ids for this time, in addition to the relay's fencing by expected sequence
DUPLICATE_WINDOW_SECONDS = 120.0


async def migrate(
    services: Sequence[Service],
    databases: Sequence[AsyncDatabase[Document]],
    vaults: Sequence[Encryption],
    nats: Client,
    *,
    replicas: int = 1,
) -> list[str]:
    """Create or update streams, consumers, collections and indexes of the services, and rebuild outdated rows.

    Return a description of each change and of each consumer.
    """
    changes = []
    for service in services:  # all streams first: consumers of one service read the stream of another
        changes += await _ensure_stream(service, nats, replicas)
    for service, database, vault in zip(services, databases, vaults, strict=True):
        changes += [await ensure_consumer(service.name, worker, nats) for worker in service.workers]
        changes += await _ensure_database(service, database, vault)
    return changes


async def find_pending(service: Service, database: AsyncDatabase[Document], nats: Client) -> str | None:
    """Return what the migration must create or rebuild before the service can start, or None if it can start."""
    js = nats.jetstream()
    try:
        await js.stream_info(service.name)
        for worker in service.workers:
            await js.consumer_info(worker.source, worker.consumer_name(service.name))
        for source in service.followed_sources:
            await js.stream_info(source)
    except NotFoundError:
        return "a JetStream stream or consumer is missing"
    versions = {document["_id"]: document["version"] async for document in database["views"].find({})}
    for category in service.categories:
        if versions.get(category.name, 0) < category.row_version:
            return f"the rows of {category.name} are not built for version {category.row_version}"
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
    change = ""
    try:
        info = await js.stream_info(service.name)
    except NotFoundError:
        info = await create_stream(js, config)
        change = f"stream {service.name} created"
    else:
        if (info.config.subjects, info.config.num_replicas) != (config.subjects, config.num_replicas):
            info = await js.update_stream(config)
            change = f"stream {service.name} updated"
    mirror_change = await ensure_mirror(nats, info) if service.is_public else None
    return [description for description in (change, mirror_change) if description]


async def ensure_consumer(service: str, worker: AnyWorker, nats: Client) -> str:
    """Create or update the durable consumer. Without an update, an existing one would keep its old settings."""
    subjects = worker.filter_subjects()
    config = ConsumerConfig(
        durable_name=worker.consumer_name(service),
        ack_policy=AckPolicy.EXPLICIT,
        ack_wait=worker.ack_wait_seconds,
        max_deliver=-1,
        max_ack_pending=1000,
        filter_subject=subjects[0] if len(subjects) == 1 else None,
        filter_subjects=subjects if len(subjects) > 1 else None,
    )
    await nats.jetstream().add_consumer(worker.source, config)
    return f"consumer {config.durable_name} of stream {worker.source} in place"


async def _ensure_database(service: Service, database: AsyncDatabase[Document], vault: Encryption) -> list[str]:
    await create_unindexed_collections(database)
    await ensure_indexes(database, list_indexes(service))
    changes = []
    versions = database["views"]
    for projection in service.projections:
        await create_balance(database, projection)
    for category in service.categories:
        stored = await versions.find_one({"_id": category.name})
        if stored is None or stored["version"] < category.row_version:
            count = await rebuild_rows(database, category, vault)
            await versions.replace_one({"_id": category.name}, {"version": category.row_version}, upsert=True)
            changes.append(f"rows of {service.name}.{category.name} in version {category.row_version}: {count}")
        if category.is_removable and (count := await mark_deleted_streams(database, category)):
            changes.append(f"deleted streams of {service.name}.{category.name} that will leave the log: {count}")
    return changes + await remove_obsolete_data(service, database)
