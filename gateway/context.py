"""The objects that all requests of a gateway process share."""

import asyncio
from dataclasses import dataclass

from gateway.auth import Authenticator
from gateway.forwarding.coalescing import RequestCoalescer
from gateway.forwarding.process_statuses import ProcessStatuses
from gateway.http.rate_limits import RateLimits
from gateway.streaming.live_events import LiveEvents
from gateway.streaming.log_reader import LogReaders
from gateway.streaming.long_polls import LongPollQueue
from libs.messaging.request_reply import MessageClient
from libs.settings import Settings


@dataclass(frozen=True)
class AppState:
    """The shared objects of one gateway process, available as `app.state.gateway`."""

    settings: Settings
    bus: MessageClient
    coalescer: RequestCoalescer
    authenticator: Authenticator
    rate_limits: RateLimits
    live_events: LiveEvents
    log_readers: LogReaders
    long_polls: LongPollQueue
    process_statuses: ProcessStatuses
    shutting_down: asyncio.Event  # set at shutdown: held requests then end
