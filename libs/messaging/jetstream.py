import asyncio
from itertools import islice

from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import ServerError
from nats.js.manager import JetStreamManager

from libs.backoff import backoff_delays

STREAM_STORE_FAILED = 10049  # JSStreamStoreFailed
MAX_RETRIES = 5


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
