import asyncio
from dataclasses import dataclass

from gateway.auth import Authenticator
from gateway.forwarding.coalescing import RequestCoalescer
from gateway.streaming.live_events import LiveEvents
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
    live_events: LiveEvents
    long_polls: LongPollQueue
    shutting_down: asyncio.Event  # set at shutdown: held requests then end
