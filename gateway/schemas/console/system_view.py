"""The response model of the state of the system."""

from collections.abc import Mapping

from pydantic import Field

from gateway.forwarding.serializers import Moment, ResponseModel
from gateway.schemas.samples import MOMENT


class SystemProcess(ResponseModel):
    service: str = Field(
        validation_alias="service_name", description="name of the service, or `gateway`", examples=["builds"]
    )
    instance: str = Field(description="name of the process (`HEADRACE_INSTANCE`)", examples=["builds-1"])
    version: str = Field(description="release of the process", examples=["0.3.0"])
    ready: bool = Field(description="whether it is ready, as at `/readyz`")
    reasons: tuple[str, ...] = Field(description="why it is not ready", examples=[["MongoDB is not reachable"]])
    leading: bool = Field(description="whether it is the leader of its service")
    started_at: Moment = Field(examples=[MOMENT])
    loop_lag_ms: float = Field(description="maximum delay of its event loop in the last seconds, in milliseconds")
    rss_bytes: int = Field(description="resident memory in bytes; 0: unknown")
    lags: Mapping[str, int] = Field(description="of the leader: events that each subscription has not yet handled")


class StreamConsumer(ResponseModel):
    name: str
    pending: int = Field(description="events not yet delivered")
    ack_pending: int = Field(description="events delivered and not yet acknowledged")


class SystemStream(ResponseModel):
    name: str = Field(description="name of the service whose events it has", examples=["builds"])
    messages: int = Field(description="number of stored events")
    bytes: int = Field(description="their size")
    first_seq: int = Field(description="sequence number of the first stored event")
    last_seq: int = Field(description="sequence number of the last event")
    consumers: tuple[StreamConsumer, ...] = Field(description="at most 100, by name")


class SystemQueue(ResponseModel):
    """The queue, as of a few seconds ago. The members are null while the service `builds` has no leader."""

    builds: int | None = Field(description="builds that have not started")
    jobs: int | None = Field(description="jobs that wait for a runner")
    oldest_seconds: float | None = Field(description="how long the oldest of the jobs has waited; 0: none waits")


class GatewayLoad(ResponseModel):
    event_readers: int = Field(description="clients connected to the event streams of all gateways")
    long_polls: int = Field(description="requests of runners that all gateways hold until a job is queued")


class SystemView(ResponseModel):
    at: Moment = Field(description="when the processes answered", examples=[MOMENT])
    processes: tuple[SystemProcess, ...] = Field(
        description="the processes that answered within one second, by service and instance"
    )
    streams: tuple[SystemStream, ...] = Field(description="event streams of services whose leader answered, by name")
    queue: SystemQueue
    gateway: GatewayLoad
