"""Checks of NATS: servers, streams, consumers, and the flow of events from the event logs to subscriptions."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from functools import partial

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo, StreamInfo
from nats.js.errors import APIError, NotFoundError, ServiceUnavailableError
from pymongo.asynchronous.database import AsyncDatabase

from infra.doctor.database_checks import MIGRATE_REMEDY
from infra.doctor.finding import Finding, becomes_true
from libs.documents import Document
from libs.eventstore.change_stream import MAX_CLOCK_SKEW
from libs.messaging.nats_connection import connect, disconnect, parse_nats_address
from libs.projections.projector import projection_collection
from libs.service.declaration import AnyWorker, Service
from libs.settings import Settings, SettingsError
from libs.subscriptions.checkpoints import REBUILDING

MIN_PAYLOAD_BYTES = 8 * 1024 * 1024
CATCH_UP_SECONDS = 8.0  # maximum time without progress; longer than the interval between checkpoints
COUNT_TIMEOUT_MS = 5000
SERVER_TIMEOUT_SECONDS = 5.0


def unreachable_finding(error: Exception) -> Finding:
    """Return the finding for a failed connection, with the message of a SettingsError."""
    is_setting = isinstance(error, SettingsError)
    return Finding(
        "nats",
        str(error) if is_setting else f"NATS is not reachable ({type(error).__name__}).",
        "It carries all requests between gateway and services, and all events.",
        "Correct the setting." if is_setting else "Start it, and check the URL in HEADRACE_NATS_URL.",
    )


async def check_server(client: Client) -> AsyncIterator[Finding]:
    if client.max_payload < MIN_PAYLOAD_BYTES:
        yield Finding(
            "nats.max_payload",
            f"NATS accepts messages of at most {client.max_payload / 2**20:.0f} MiB.",
            "Webhook bodies have up to 5 MiB. Larger pushes fail with REQUEST_TOO_LARGE.",
            "Set `max_payload: 8MB` in the configuration of the NATS server.",
        )
    try:
        await client.jetstream().account_info()
    except (ServiceUnavailableError, NotFoundError, NatsError) as error:
        yield Finding(
            "nats.jetstream",
            f"JetStream is not available ({type(error).__name__}).",
            "It delivers the events: no builds are planned, no mails are sent, and projections are out of date.",
            "Enable it in the NATS server (`jetstream { store_dir: ... }`) and for this account. If it was enabled: "
            "a server disables it when its disk is full. Free some space and restart the server. "
            "In a cluster, more than half of the servers must run.",
        )


async def check_servers(settings: Settings) -> AsyncIterator[Finding]:
    """Check each server in HEADRACE_NATS_URL, because a process uses one server until that server fails."""
    address = parse_nats_address(settings)
    answers = await asyncio.gather(
        *(
            _server_problem(settings.model_copy(update={"nats_url": address.with_login(server)}))
            for server in address.servers
        )
    )
    for server, problem in zip(address.servers, answers, strict=True):
        if problem:
            yield Finding(
                f"nats.server.{server.partition('://')[2]}",
                f"The NATS server {server} {problem}.",
                "Processes use the other servers of HEADRACE_NATS_URL. Redundancy is reduced.",
                "Start or restart it, or remove it from HEADRACE_NATS_URL.",
            )


async def _server_problem(settings: Settings) -> str:
    try:
        client = await connect(settings, "doctor", timeout=SERVER_TIMEOUT_SECONDS)
    except SettingsError as error:
        return f"cannot be used: {str(error).rstrip('.')}"
    except (NatsError, OSError, TimeoutError):
        return f"does not respond within {SERVER_TIMEOUT_SECONDS:g} s"
    await disconnect(client)
    return ""


async def check_streams(client: Client, settings: Settings, services: Sequence[Service]) -> AsyncIterator[Finding]:
    js = client.jetstream()
    for service in services:
        try:
            info = await js.stream_info(service.name)
        except NotFoundError:
            yield Finding(
                f"stream.{service.name}",
                f"The stream {service.name} does not exist.",
                f"Events of {service.name} are not delivered, and subscribed services wait.",
                MIGRATE_REMEDY + " The service then fills the stream from its log.",
            )
            continue
        if info.config.subjects != [f"evt.{service.name}.>"] or info.config.num_replicas != settings.stream_replicas:
            yield Finding(
                f"stream.{service.name}",
                f"The configuration of stream {service.name} is wrong: subjects {info.config.subjects}, "
                f"{info.config.num_replicas} replicas instead of {settings.stream_replicas}.",
                "Events can be lost with a server, or are not delivered.",
                f"Set HEADRACE_STREAM_REPLICAS to the intended number. {MIGRATE_REMEDY}",
            )
        if lagging := _replica_problem(info):
            yield Finding(
                f"stream.{service.name}",
                f"Stream {service.name}: {lagging}.",
                "The failure of another server can stop the stream or lose events.",
                "Start the missing NATS servers, and see `nats server report jetstream`.",
            )
        state = info.state
        if state.messages and state.messages != state.last_seq - state.first_seq + 1:
            yield Finding(
                f"stream.{service.name}",
                f"The stream {service.name} has gaps: {state.messages} events between {state.first_seq} and "
                f"{state.last_seq}.",
                "Subscriptions detect deleted events and start from the beginning. External consumers never receive "
                "them.",
                f"Purge the stream {service.name} and restart the service {service.name}, which fills it again.",
            )
        for worker in service.workers:
            async for finding in _check_consumer(client, service, worker):
                yield finding


def _replica_problem(info: StreamInfo) -> str:
    cluster = info.cluster
    if cluster is None:
        return ""
    if not cluster.leader:
        return "no leader"
    behind = [replica.name for replica in cluster.replicas or () if replica.offline or not replica.current]
    return f"{len(behind)} replicas are offline or behind ({', '.join(map(str, behind))})" if behind else ""


async def _check_consumer(client: Client, service: Service, worker: AnyWorker) -> AsyncIterator[Finding]:
    name = worker.consumer_name(service.name)
    why = f"The worker {worker.name} of {service.name} does not run without this consumer."
    js = client.jetstream()
    try:
        info = await js.consumer_info(worker.source, name)
    except NotFoundError:
        yield Finding(
            f"consumer.{name}", f"The consumer {name} of stream {worker.source} does not exist.", why, MIGRATE_REMEDY
        )
        return
    config = info.config
    subjects = sorted(config.filter_subjects or ([config.filter_subject] if config.filter_subject else []))
    if (subjects, config.max_deliver) != (sorted(worker.filter_subjects()), -1):
        what = f"The configuration of consumer {name} of stream {worker.source} is wrong."
        yield Finding(f"consumer.{name}", what, "Events can be skipped or dropped.", MIGRATE_REMEDY)
    elif (info.num_pending or 0) and not await becomes_true(
        partial(_has_progressed, client, worker, name, info), within=CATCH_UP_SECONDS
    ):
        yield Finding(
            f"consumer.{name}",
            f"{info.num_pending} events are pending for {worker.name} of {service.name}, and none is being processed.",
            why,
            f"See the logs of the service {service.name}, and restart it if they show no activity.",
        )


async def _has_progressed(client: Client, worker: AnyWorker, name: str, before: ConsumerInfo) -> bool:
    now = await client.jetstream().consumer_info(worker.source, name)
    then, here = before.delivered, now.delivered
    return not now.num_pending or then is None or here is None or here.consumer_seq > then.consumer_seq


async def check_relay(client: Client, service: Service, database: AsyncDatabase[Document]) -> AsyncIterator[Finding]:
    """Check that the newest commit arrives in the stream, and that the stream has all events that were not trimmed."""
    kept = await _filter_kept_commits(client, service.name)
    newest = await database["commits"].find_one({"events": {"$ne": []}, **kept}, sort=[("at", -1)])
    if newest is None:
        return
    todo = f"See the logs of the service {service.name}, and start it if necessary. It publishes the missing events."
    if not await becomes_true(partial(_is_published, client, service.name, newest), within=CATCH_UP_SECONDS):
        yield Finding(
            f"relay.{service.name}",
            f"The newest commit of {service.name}, of {newest['at']:%Y-%m-%d %H:%M:%S} UTC, is not in its stream.",
            "Projections, mails and builds do not progress. No data is lost.",
            todo,
        )
        return
    total = {"_id": None, "events": {"$sum": {"$size": "$events"}}}
    pipeline: list[Document] = [{"$match": kept}, {"$group": total}]
    counted = await (await database["commits"].aggregate(pipeline, maxTimeMS=COUNT_TIMEOUT_MS)).to_list()
    messages = (await client.jetstream().stream_info(service.name)).state.messages
    if messages < counted[0]["events"]:
        yield Finding(
            f"relay.{service.name}",
            f"The stream of {service.name} has {messages} events, but the log has {counted[0]['events']}.",
            "Projections of them are incomplete, and external consumers miss events.",
            "After a restore or a loss of the stream, wait until it is filled. Otherwise purge the stream "
            f"{service.name} and restart the service {service.name}, which fills it again.",
        )


async def _filter_kept_commits(client: Client, service: str) -> Document:
    """Return the filter for the commits that must be in the stream: all, unless older events were trimmed."""
    js = client.jetstream()
    try:
        state = (await js.stream_info(service)).state
        if state.first_seq <= 1 or not state.messages:
            return {}
        first = await js.get_msg(service, seq=state.first_seq)
    except NotFoundError:
        return {}
    time = (first.headers or {}).get("ce-time")
    return {"at": {"$gte": datetime.fromisoformat(time) + MAX_CLOCK_SKEW}} if time else {}


async def _is_published(client: Client, service: str, commit: Document) -> bool:
    last = commit["events"][-1]
    subject = f"evt.{service}.{commit['stream']}.{last['name']}"
    try:
        message = await client.jetstream().get_last_msg(service, subject)
    except NotFoundError:
        return False
    version = (message.headers or {})["ce-id"].rpartition("@")[2].partition(".")[0]
    return int(version) >= int(commit["version"])


async def check_subscriptions(
    client: Client, service: Service, database: AsyncDatabase[Document]
) -> AsyncIterator[Finding]:
    followed = {policy.subscription: policy.source for policy in service.policies}
    followed |= {projection_collection(view): view.source for view in service.projections}
    for name, source in followed.items():
        try:
            end = (await client.jetstream().stream_info(source)).state.last_seq
        except (NotFoundError, APIError):
            continue  # check_streams reports this
        before = await _read_checkpoint(database, name)
        if before.get("incarnation") == REBUILDING:
            yield Finding(
                f"follower.{name}",
                f"{name} of {service.name} waits for a rebuild.",
                f"It does not process events of {source} until then.",
                f"If no `headrace admin rebuild {service.name}` is running, run it again.",
            )
        elif before.get("sequence", 0) < end and not await becomes_true(
            partial(_has_checkpoint_moved, database, name, before), within=CATCH_UP_SECONDS
        ):
            yield Finding(
                f"follower.{name}",
                f"{name} of {service.name} makes no progress and is {end - before.get('sequence', 0)} events behind.",
                "It stops before an event that it cannot apply, to keep the order. Its data is out of date.",
                f"See the logs of the service {service.name} for the event and the reason. It retries automatically.",
            )


async def _read_checkpoint(database: AsyncDatabase[Document], name: str) -> Document:
    return await database["followers"].find_one({"_id": name}) or {}


async def _has_checkpoint_moved(database: AsyncDatabase[Document], name: str, before: Document) -> bool:
    return await _read_checkpoint(database, name) != before
