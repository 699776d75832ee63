import asyncio
from dataclasses import dataclass, field

from nats.aio.client import Client

from gateway.auth import Authenticator
from gateway.forwarding.coalescing import RequestCoalescer
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
    nats: Client
    long_polls: LongPollQueue
    shutting_down: asyncio.Event  # set at shutdown: held requests and event streams then end
    # user id of each client that reads the event stream; the key is an object per client
    event_readers: dict[object, int] = field(default_factory=dict, init=False)
