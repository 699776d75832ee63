"""Status of the running processes. Each replica or gateway sends its own reply, so a query has several replies."""

from collections.abc import Mapping
from datetime import datetime

from contracts.history import PerServiceQuery
from contracts.messages import Message

GATEWAY = "gateway"


class GetProcessStatus(PerServiceQuery):
    """Get the status of each process of a service, or of each gateway. Each process sends a ProcessStatus."""

    of: str  # the service, or GATEWAY

    def target_subject(self) -> str:
        return self.subject_at(self.of)


class ConsumerStatus(Message):
    name: str
    pending: int  # number of events not yet delivered
    ack_pending: int  # number of events delivered and not yet acknowledged


class StreamStatus(Message):
    """The event stream of a service in JetStream."""

    name: str
    messages: int
    bytes: int
    first_seq: int
    last_seq: int
    consumers: tuple[ConsumerStatus, ...]  # ordered by name


class ProcessStatus(Message):
    service_name: str
    instance: str
    version: str
    ready: bool
    reasons: tuple[str, ...]  # why the process is not ready
    leading: bool = False  # whether the process is the leader of its service
    started_at: datetime
    loop_lag_ms: float  # maximum delay of the event loop in the last 10 seconds
    rss_bytes: int  # resident memory; 0: unknown
    lags: Mapping[str, int] = {}  # subscription -> number of events not yet handled; empty: not the leader
    gauges: Mapping[str, float] = {}  # metric -> value, of metrics without labels
    stream: StreamStatus | None = None  # None: the process is not the leader, or JetStream does not respond
