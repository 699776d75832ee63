"""Replicas of several services in one process with a skewed clock. Arguments: <seconds> <service>=<health port>..."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from importlib import import_module

from libs.clock import Clock, now
from libs.observability.logs import configure_logging
from libs.service.service_host import serve
from libs.settings import Settings


async def run_replicas(skew: timedelta, health_ports: dict[str, int]) -> None:
    settings, stop = Settings.from_environment(os.environ), asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with asyncio.TaskGroup() as group:
        for name, port in health_ports.items():
            own_settings = settings.model_copy(update={"health_port": port})
            service = import_module(f"services.{name}.app").service
            group.create_task(serve(service, own_settings, stop, Clock(lambda: now() + skew)))


if __name__ == "__main__":
    seconds, *replicas = sys.argv[1:]
    configure_logging("skewed", "replica")
    ports = {name: int(port) for name, _, port in (replica.partition("=") for replica in replicas)}
    asyncio.run(run_replicas(timedelta(seconds=float(seconds)), ports))
