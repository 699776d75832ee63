"""The heartbeat of a gateway: tells services that it is alive, and compares its clock with the database's.

A gateway checks when tokens expire, so its clock matters. It has no database; the answers carry the database's time.
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

SERVICES = ("builds", "runners")  # those that hold silence against runners
INTERVAL_SECONDS = 3.0
TIMEOUT_SECONDS = 2.0
STOP_TIMEOUT_SECONDS = 1.0  # a bus that hangs keeps no gateway from leaving


class HeartbeatSender:
    """Sends the heartbeats of one process."""

    def __init__(self, client: NatsClient, instance: str, clock: Clock, offset: SettableGauge) -> None:
        self._client = client
        self._caller = MessageClient(client)
        self._instance = instance
        self._clock = clock
        self._offset = offset
        self._sending: asyncio.Future[list[None]] = asyncio.gather()  # nothing yet

    async def run(self) -> NoReturn:
        """Run until cancelled."""
        while True:
            self._sending = asyncio.gather(*(self._send(service) for service in SERVICES))
            await asyncio.shield(self._sending)
            self._clock.log_problem()
            if self._clock.offset is not None:
                self._offset.set(self._clock.offset, {"service": "gateway"})
            await asyncio.sleep(INTERVAL_SECONDS)

    async def stop(self) -> None:
        """Tell the services that this gateway stops as it should: they need not be patient.

        To be called when `beat` was cancelled. What it has sent is answered first, so that nothing overtakes this.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_SECONDS):
                await self._sending
                await asyncio.gather(*(self._send(service, leaving=True) for service in SERVICES))

    async def _send(self, service: str, *, leaving: bool = False) -> None:
        beat = Heartbeat(to=service, gateway=self._instance, clock_offset=self._clock.offset, leaving=leaving)
        if not self._client.may_publish(beat.target_subject()):
            return  # by a server with the permissions of 0.2.0; the log says it once

        async def ask() -> datetime:
            answer = await self._caller.query(beat, timeout=TIMEOUT_SECONDS)
            return DatabaseTime.model_validate_json(answer).at

        try:
            await self._clock.synchronize(ask)
        except RequestRejected as refused:  # also by a release that does not know heartbeats
            log.debug("%s did not answer the heartbeat: %s", service, refused.code)
