"""Streams of JetStream: creation, and the position of the relay."""

import asyncio
from itertools import islice

from nats.aio.client import Client
from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import NotFoundError, ServerError
from nats.js.manager import JetStreamManager

from libs.backoff import backoff_delays

STREAM_STORE_FAILED = 10049  # JetStream error code JSStreamStoreFailed
MAX_RETRIES = 5
POSITION_HEADER = "Headrace-Position"  # header of each event: where the relay continues after it
EMPTIED = "stream.Emptied"  # end of the subject of the marker that a relay publishes before it empties a stream
FULL_REPUBLISH = "scanning"  # position while the whole log is republished, which starts over after a crash


async def create_stream(manager: JetStreamManager, config: StreamConfig) -> StreamInfo:
    """Create a stream, with retries.

    After a deletion the server may still be removing the files of the deleted stream of the same name.
    """
    for delay in islice(backoff_delays(0.1, 2.0), MAX_RETRIES):
        try:
            return await manager.add_stream(config)
        except ServerError as error:
            if error.err_code != STREAM_STORE_FAILED:
                raise
            await asyncio.sleep(delay)
    return await manager.add_stream(config)


async def is_republishing(client: Client, service: str) -> bool:
    """Return whether a relay reads the whole log to publish it again, or is about to."""
    js = client.jetstream()
    state = (await js.stream_info(service)).state
    if state.messages == 0:
        return True
    try:
        last = await js.get_msg(service, seq=state.last_seq)
    except NotFoundError:
        return True  # purged at this moment
    return (last.headers or {}).get(POSITION_HEADER) == FULL_REPUBLISH
