"""Follow the builds with plain nats-py: first what happened after a sequence, then what happens."""

import asyncio
import os
import sys

import nats
from nats.js.api import ConsumerConfig, DeliverPolicy


async def follow(after: int) -> None:
    bus = await nats.connect(os.environ["HEADRACE_NATS_URL"], max_reconnect_attempts=-1)
    start = ConsumerConfig(deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=after + 1)
    events = await bus.jetstream().subscribe("evt.builds.>", stream="builds", ordered_consumer=True, config=start)
    async for event in events.messages:
        print(event.metadata.sequence.stream, event.subject, event.data.decode(), flush=True)


asyncio.run(follow(int(sys.argv[1]) if len(sys.argv) > 1 else 0))
