"""Heartbeats that report this gateway as alive, and the offset between its clock and the database's.

The gateway needs a correct clock to check token expiry. It has no database connection, so services respond to
heartbeats with the database's time.
"""

import asyncio
import logging
from contextlib import suppress
from datetime import datetime
from typing import NoReturn

from contracts.errors import RequestRejected
from contracts.heartbeat import DatabaseTime, Heartbeat
from libs.clock import Clock
from libs.messaging.nats_client import NatsClient
from libs.messaging.request_reply import MessageClient
from libs.observability.metrics import SettableGauge

log = logging.getLogger("headrace.gateway")

# these services treat runners without contact as lost, except while gateways are down
SERVICES = ("builds", "runners")
INTERVAL_SECONDS = 3.0
TIMEOUT_SECONDS = 2.0
STOP_TIMEOUT_SECONDS = 1.0  # maximum duration of `stop`, in case NATS does not respond


class HeartbeatSender:
    def __init__(self, client: NatsClient, instance: str, clock: Clock, offset: SettableGauge) -> None:
        self._client = client
        self._bus = MessageClient(client)
        self._instance = instance
        self._clock = clock
        self._offset = offset
        self._sending: asyncio.Future[list[None]] = asyncio.gather()  # pending heartbeats; initially none

    async def run(self) -> NoReturn:
        while True:
            self._sending = asyncio.gather(*(self._send(service) for service in SERVICES))
            await asyncio.shield(self._sending)
            self._clock.log_problem()
            if self._clock.offset is not None:
                self._offset.set(self._clock.offset, {"service": "gateway"})
            await asyncio.sleep(INTERVAL_SECONDS)

    async def stop(self) -> None:
        """Report a planned stop, so that the services do not take missing heartbeats for an outage.

        Call it after `run` was canceled. Pending heartbeats are awaited first, so that none arrives later.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await self._sending
                await asyncio.gather(*(self._send(service, leaving=True) for service in SERVICES))

    async def _send(self, service: str, *, leaving: bool = False) -> None:
        beat = Heartbeat(to=service, gateway=self._instance, clock_offset=self._clock.offset, leaving=leaving)
        if not self._client.may_publish(beat.target_subject()):
            return  # NATS still has the permissions of release 0.2.0, which allow no heartbeats

        async def read_database_time() -> datetime:
            answer = await self._bus.query(beat, timeout=TIMEOUT_SECONDS)
            return DatabaseTime.model_validate_json(answer).at

        try:
            await self._clock.synchronize(read_database_time)
        except RequestRejected as rejection:  # no service runs, or its release 0.2.0 knows no heartbeats
            log.debug("%s did not answer the heartbeat: %s", service, rejection.code)
