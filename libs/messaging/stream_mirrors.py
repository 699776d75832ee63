"""Copies of the public streams for outside consumers, in a NATS account of their own: see docs/adr/0016.

The server copies by itself; a copy keeps the sequence numbers and takes nothing from anybody but its original. It is
made by the migration step, and emptied by the relay when it empties the original.
"""

from contextlib import suppress

from nats.aio.client import Client
from nats.js.api import ExternalStream, StreamConfig, StreamInfo, StreamSource
from nats.js.errors import NotFoundError, ServiceUnavailableError
from nats.js.manager import JetStreamManager

from libs.messaging.jetstream import create_stream

MIRROR_ACCOUNT = "EVENTS"
MIRROR_API = f"$JS.{MIRROR_ACCOUNT}.API"  # how HEADRACE reaches the copies
SOURCE_API = "$JS.HEADRACE.API"  # how EVENTS reaches the originals
DELIVER_PREFIX = "mirror"  # the copies get their messages on mirror.<stream>.>


def _mirror_manager(client: Client) -> JetStreamManager:
    return client.jsm(prefix=MIRROR_API)


async def ensure_mirror(client: Client, source_info: StreamInfo) -> str | None:
    """Have the stream copied; returns what was done. A server without the account has no outside consumers."""
    stream, copies = str(source_info.config.name), _mirror_manager(client)
    source = StreamSource(name=stream, external=ExternalStream(api=SOURCE_API, deliver=f"{DELIVER_PREFIX}.{stream}"))
    config = StreamConfig(
        name=stream,
        description=f"Events of the service {stream}, for consumers outside",
        mirror=source,
        num_replicas=source_info.config.num_replicas,
        allow_direct=True,
        mirror_direct=False,
    )
    try:
        present = await copies.stream_info(stream)
        if source_info.created and present.created and present.created < source_info.created:
            await copies.delete_stream(stream)  # the original was lost and made anew, and counts from one again
            raise NotFoundError
    except ServiceUnavailableError:
        return None
    except NotFoundError:
        await create_stream(copies, config)
        return f"copy of stream {stream} made for outside consumers"
    if present.config.num_replicas == config.num_replicas:
        return None
    await copies.update_stream(config)
    return f"copy of stream {stream} updated"


async def purge_mirror(client: Client, stream: str, before: int) -> None:
    """The copy does not forget by itself what its original was told to forget."""
    with suppress(NotFoundError, ServiceUnavailableError):
        await _mirror_manager(client).purge_stream(stream, seq=before)
