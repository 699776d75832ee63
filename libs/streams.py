"""Making JetStream streams, also right after one of the same name was deleted."""

import asyncio

from nats.js.api import StreamConfig, StreamInfo
from nats.js.errors import ServerError
from nats.js.manager import JetStreamManager

NO_STORE = 10049  # JSStreamStoreFailed
PAUSES = (0.1, 0.5, 2.0)  # seconds


async def made(streams: JetStreamManager, config: StreamConfig) -> StreamInfo:
    """The server answers a deletion while it still removes the files, which may be in the way: then a little later."""
    for pause in PAUSES:
        try:
            return await streams.add_stream(config)
        except ServerError as error:
            if error.err_code != NO_STORE:
                raise
            await asyncio.sleep(pause)
    return await streams.add_stream(config)
