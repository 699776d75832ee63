"""The status report of a service replica. The leader adds the lags of subscriptions, gauges, and the event stream."""

import asyncio
from collections.abc import Mapping

from nats.errors import Error as NatsError
from nats.js.api import ConsumerInfo
from nats.js.errors import Error as JetStreamError

from contracts.process_status import ConsumerStatus, ProcessStatus, StreamStatus
from libs.observability.metrics import Metrics
from libs.observability.polled_gauges import GaugePoller
from libs.observability.process_reporter import ProcessReporter
from libs.service.runtime import Runtime

STREAM_TIMEOUT_SECONDS = 0.4
MAX_CONSUMERS = 100


async def report_replica(reporter: ProcessReporter, runtime: Runtime, gauges: GaugePoller) -> ProcessStatus:
    metrics = runtime.metrics
    if not any(leads for _, leads in metrics.leading.read()):
        return await reporter.report()
    status, stream = await asyncio.gather(reporter.report(), _read_stream(runtime))
    return status.replace(leading=True, lags=_read_lags(metrics), gauges=gauges.read(), stream=stream)


def _read_lags(metrics: Metrics) -> Mapping[str, int]:
    return {labels["follower"]: int(lag) for labels, lag in metrics.follower_lag.read()}


async def _read_stream(runtime: Runtime) -> StreamStatus | None:
    """Return the state of the service's event stream, or None if JetStream does not answer in time."""
    name, jetstream = runtime.service.name, runtime.nats.jetstream(timeout=STREAM_TIMEOUT_SECONDS)
    try:
        info, consumers = await asyncio.gather(jetstream.stream_info(name), jetstream.consumers_info(name))
    except (NatsError, JetStreamError, TimeoutError):
        return None
    state = info.state
    return StreamStatus(
        name=name,
        messages=state.messages,
        bytes=state.bytes,
        first_seq=state.first_seq,
        last_seq=state.last_seq,
        consumers=tuple(map(_to_status, sorted(consumers, key=lambda consumer: consumer.name)[:MAX_CONSUMERS])),
    )


def _to_status(consumer: ConsumerInfo) -> ConsumerStatus:
    return ConsumerStatus(
        name=consumer.name, pending=consumer.num_pending or 0, ack_pending=consumer.num_ack_pending or 0
    )
