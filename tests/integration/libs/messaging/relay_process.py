"""A relay that runs as a process of its own, so that a test can kill it. Arguments: <service> <database prefix>."""

import asyncio
import os
import sys

from libs.messaging.nats_connection import connect
from libs.messaging.relay import Relay
from libs.service.connections import create_mongo_client, get_database
from libs.settings import Settings
from tests.support.counters import counters  # noqa: F401  # its events are known by then


async def main(service: str, prefix: str) -> None:
    settings = Settings(mongodb_url=os.environ["MONGODB"], nats_url=os.environ["NATS"], database_prefix=prefix)
    async with create_mongo_client(settings, service) as client:
        await Relay(await connect(settings, service), get_database(client, settings, service), service).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
