import asyncio

from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import ServerError
from nats.js.manager import JetStreamManager

STREAM_STORE_FAILED = 10049  # JSStreamStoreFailed
RETRY_DELAYS_SECONDS = (0.1, 0.5, 2.0)


async def create_stream(manager: JetStreamManager, config: StreamConfig) -> StreamInfo:
    """Create a stream, with retries.

    After a deletion the server may still be removing the files of the deleted stream of the same name.
    """
    for pause in RETRY_DELAYS_SECONDS:
        try:
            return await manager.add_stream(config)
        except ServerError as error:
            if error.err_code != STREAM_STORE_FAILED:
                raise
            await asyncio.sleep(pause)
    return await manager.add_stream(config)
