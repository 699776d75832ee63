"""Heartbeats of gateways, by which a service knows that runners can reach the service through them."""

from datetime import datetime

from contracts.history import PerServiceQuery
from contracts.messages import Message


class Heartbeat(PerServiceQuery):
    """Report that a gateway is alive. Answer: DatabaseTime.

    Gateways send it every few seconds to the services that detect lost runners.
    """

    to: str  # the service that receives the heartbeat
    gateway: str  # instance name of the gateway
    clock_offset: float | None = None  # seconds by which the gateway's clock is ahead of the database's; None: unknown
    leaving: bool = False  # the gateway is shutting down

    def target_subject(self) -> str:
        return self.subject_at(self.to)


class DatabaseTime(Message):
    at: datetime
