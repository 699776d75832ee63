"""Making JetStream streams, also right after one of the same name was deleted."""

import asyncio

from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import ServerError
from nats.js.manager import JetStreamManager

STREAM_STORE_FAILED = 10049  # JSStreamStoreFailed
RETRY_DELAYS_SECONDS = (0.1, 0.5, 2.0)  # seconds


async def create_stream(manager: JetStreamManager, config: StreamConfig) -> StreamInfo:
    """The server answers a deletion while it still removes the files, which may be in the way: then a little later."""
    for pause in RETRY_DELAYS_SECONDS:
        try:
            return await manager.add_stream(config)
        except ServerError as error:
            if error.err_code != STREAM_STORE_FAILED:
                raise
            await asyncio.sleep(pause)
    return await manager.add_stream(config)
