"""Mirrors of the public streams for external consumers, in a separate NATS account (see docs/adr/0016).

The NATS server copies the messages; a mirror keeps their sequence numbers and accepts no other messages. The migration
step creates mirrors, and the leader of the service purges a mirror when it purges the source.
"""

from contextlib import suppress

from nats.aio.client import Client
from nats.js.api import ExternalStream, StreamConfig, StreamInfo, StreamSource
from nats.js.errors import NotFoundError, ServiceUnavailableError
from nats.js.manager import JetStreamManager

from libs.messaging.jetstream import create_stream

MIRROR_ACCOUNT = "EVENTS"
MIRROR_API = f"$JS.{MIRROR_ACCOUNT}.API"  # how the account HEADRACE reaches the mirrors
SOURCE_API = "$JS.HEADRACE.API"  # how the account EVENTS reaches the source streams
DELIVER_PREFIX = "mirror"  # messages are delivered to mirrors on mirror.<stream>.>


def _mirror_manager(client: Client) -> JetStreamManager:
    return client.jsm(prefix=MIRROR_API)


async def ensure_mirror(client: Client, source_info: StreamInfo) -> str | None:
    """Create or update the mirror of a stream. Return a description of the change, or None if there was none.

    A server without the account EVENTS has no external consumers and gets no mirrors.
    """
    stream, copies = str(source_info.config.name), _mirror_manager(client)
    source = StreamSource(name=stream, external=ExternalStream(api=SOURCE_API, deliver=f"{DELIVER_PREFIX}.{stream}"))
    config = StreamConfig(
        name=stream,
        description=f"Events of the service {stream}, for external consumers",
        mirror=source,
        num_replicas=source_info.config.num_replicas,
        allow_direct=True,
        mirror_direct=False,
    )
    try:
        present = await copies.stream_info(stream)
        if source_info.created and present.created and present.created < source_info.created:
            # the source stream was recreated, so its sequence numbers start from one again
            await copies.delete_stream(stream)
            raise NotFoundError
    except ServiceUnavailableError:
        return None
    except NotFoundError:
        await create_stream(copies, config)
        return f"mirror of stream {stream} created for external consumers"
    if present.config.num_replicas == config.num_replicas:
        return None
    await copies.update_stream(config)
    return f"mirror of stream {stream} updated"


async def find_mirror_end(client: Client, stream: str) -> int | None:
    """Return the last sequence number that the mirror has copied; None without a mirror."""
    with suppress(NotFoundError, ServiceUnavailableError):
        return (await _mirror_manager(client).stream_info(stream)).state.last_seq
    return None


async def purge_mirror(client: Client, stream: str, before: int) -> None:
    """Delete the messages of a mirror before a sequence number. A purge of the source does not change its mirror."""
    with suppress(NotFoundError, ServiceUnavailableError):
        await _mirror_manager(client).purge_stream(stream, seq=before)
