"""Dump and restore of JetStream as one file: snapshots of all streams, with durable consumers and mirrors.

A snapshot has the server's own format (`nats stream backup`): subjects, headers, data, sequence numbers and times, and
the configuration and sequences of each consumer.

A restored stream gets a new creation time, which `restore_streams` returns.
"""

import asyncio
import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bson
from nats.aio.client import Client
from nats.aio.msg import Msg

from infra.service_catalog import SERVICES

API_PREFIX = "$JS.API"
MIRROR_API_PREFIX = "$JS.EVENTS.API"  # JetStream API of the account for external consumers
CHUNK_BYTES = 128 * 1024
TIMEOUT_SECONDS = 10.0  # timeout of each request to the JetStream API
Json = dict[str, Any]


@dataclass(frozen=True)
class RecordedStream:
    name: str
    created: str  # creation time of the stream
    consumers: Sequence[Json]  # consumer infos: configuration, delivered, ack_floor, num_pending, num_ack_pending
    snapshot: Json  # configuration and state, as the restore API requires them
    data: bytes
    copy: Json | None  # configuration of the mirror for external consumers, if there is one


async def request(bus: Client, subject: str, body: Json | bytes = b"") -> Json:
    """Send a request to the JetStream API and return the response. Raises LookupError for an error response."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    response: Json = json.loads((await bus.request(subject, data, timeout=TIMEOUT_SECONDS)).data)
    if "error" in response:
        raise LookupError(f"{subject}: {response['error']}")
    return response


async def read_stream(bus: Client, name: str, *, copied: bool) -> RecordedStream:
    consumers = await request(bus, f"{API_PREFIX}.CONSUMER.LIST.{name}")
    durables = [consumer for consumer in consumers["consumers"] if consumer["config"].get("durable_name")]
    copy = (await request(bus, f"{MIRROR_API_PREFIX}.STREAM.INFO.{name}"))["config"] if copied else None
    snapshot, data = await _take_snapshot(bus, name)
    return RecordedStream(name, await read_creation_time(bus, name), durables, snapshot, data, copy)


async def read_creation_time(bus: Client, name: str) -> str:
    """Return the creation time of a stream in the format that checkpoints of subscriptions store."""
    return str((await bus.jetstream().stream_info(name)).created)


async def _take_snapshot(bus: Client, name: str) -> tuple[Json, bytes]:
    chunks: list[bytes] = []
    complete = asyncio.Event()

    async def on_chunk(message: Msg) -> None:
        if message.data:
            chunks.append(message.data)
            if message.reply:
                await message.respond(b"")
        else:
            complete.set()

    inbox = bus.new_inbox()
    subscription = await bus.subscribe(inbox, cb=on_chunk)
    response = await request(bus, f"{API_PREFIX}.STREAM.SNAPSHOT.{name}", {"deliver_subject": inbox})
    async with asyncio.timeout(TIMEOUT_SECONDS):
        await complete.wait()
    await subscription.unsubscribe()
    return {"config": response["config"], "state": response["state"]}, b"".join(chunks)


async def write_streams(file: Path, bus: Client, public: Sequence[str]) -> None:
    """Write all streams to a file. `public`: streams that are mirrored for external consumers."""
    with file.open("wb") as raw, gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0) as packed:
        for name in SERVICES:
            stream = await read_stream(bus, name, copied=name in public)
            packed.write(bson.encode(vars(stream)))


def read_streams(file: Path) -> list[RecordedStream]:
    with gzip.open(file) as packed:
        return [RecordedStream(**document) for document in bson.decode_all(packed.read())]


async def restore_streams(file: Path, bus: Client) -> dict[str, str]:
    """Restore streams, durable consumers and mirrors. Return the new creation times by recorded creation time."""
    created = {}
    for stream in read_streams(file):
        upload = await request(bus, f"{API_PREFIX}.STREAM.RESTORE.{stream.name}", stream.snapshot)
        for start in range(0, len(stream.data), CHUNK_BYTES):
            await bus.request(
                upload["deliver_subject"], stream.data[start : start + CHUNK_BYTES], timeout=TIMEOUT_SECONDS
            )
        await request(bus, upload["deliver_subject"])
        created[stream.created] = await read_creation_time(bus, stream.name)
        if stream.copy is not None:  # the server fills the mirror from its stream, with the same sequence numbers
            await request(bus, f"{MIRROR_API_PREFIX}.STREAM.CREATE.{stream.name}", stream.copy)
    return created
