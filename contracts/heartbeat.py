"""Heartbeats of gateways: by them a service knows that runners can reach it, and the gateway learns the time."""

from datetime import datetime

from contracts.history import PerServiceQuery
from contracts.messages import Message


class Heartbeat(PerServiceQuery):
    """A gateway is alive. Sent every few seconds to the services that wait for runners. Answers DatabaseTime."""

    to: str  # the service
    gateway: str  # its instance name
    clock_offset: float | None = None  # seconds by which its clock is ahead of the database's; None: not known
    leaving: bool = False  # it stops: nothing waits for it

    def target_subject(self) -> str:
        return self.subject_at(self.to)


class DatabaseTime(Message):
    at: datetime
