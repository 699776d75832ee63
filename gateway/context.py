"""What a route handler receives: the application's shared state and the parsed, authenticated request."""

import asyncio
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from nats.aio.client import Client
from starlette.types import Scope

from contracts.errors import RequestRejected
from contracts.history import GetCommandReply
from contracts.messages import Command, Message, Query
from gateway.auth import Authenticator
from gateway.coalescing import RequestCoalescer
from gateway.http.client_ip import client_ip
from gateway.streaming.long_polls import LongPollQueue
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient, ReturnQuery
from libs.settings import Settings

IDEMPOTENCY_KEY = re.compile(rb"[ -~]{1,255}")


@dataclass(frozen=True)
class AppState:
    """The shared objects of one gateway process."""

    settings: Settings
    bus: MessageClient
    coalescer: RequestCoalescer
    authenticator: Authenticator
    nats: Client
    long_polls: LongPollQueue
    shutting_down: asyncio.Event  # set at shutdown: held requests and streams end then
    # user ids of the clients that read the event stream; each client has an object as key
    event_readers: dict[object, int] = field(default_factory=dict, init=False)


def read_idempotency_key(headers: Mapping[bytes, bytes]) -> str:
    """Return the Idempotency-Key, or an empty string if none was sent. Raises IDEMPOTENCY_KEY_INVALID."""
    key = headers.get(b"idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise RequestRejected("IDEMPOTENCY_KEY_INVALID")
    return (key or b"").decode()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A parsed and authenticated request."""

    state: AppState
    scope: Scope = field(repr=False)
    method: str
    path: str  # below /api
    path_params: Mapping[str, Any]
    query: bytes
    headers: Mapping[bytes, bytes]
    actor: Actor
    body: Mapping[str, Any]  # nested objects flattened, unless the route takes its fields at the top level
    raw_body: bytes = b""  # the unparsed body, for routes that need it
    idempotency_key: str = ""  # set for writes only; empty: none was sent

    @property
    def client_ip(self) -> str:
        """The client's IP address: the connection's, or the one that a trusted proxy reports."""
        return client_ip(self.scope, self.state.settings.trusted_proxies)

    def command_id(self, command: type[Command]) -> str:
        """Return a command id derived from user, method, path and idempotency key, so that a retry has the same id."""
        parts = (str(self.actor.id), self.method, self.path, command.wire_name, self.idempotency_key)
        return str(uuid5(NAMESPACE_URL, "\n".join(parts)))

    @property
    def fingerprint(self) -> str:
        """A hash of query and body that distinguishes a retry from another request with the same Idempotency-Key."""
        content = json.dumps([self.query.decode("latin-1"), self.body], sort_keys=True)
        return sha256(content.encode()).hexdigest()

    async def has_recorded_response(self, command: type[Command]) -> bool:
        """Return whether a request with this Idempotency-Key was handled before.

        Raises IDEMPOTENCY_KEY_REUSED if the key was used for a different request.
        """
        query = GetCommandReply(
            taken_by=command.service, command_id=self.command_id(command), fingerprint=self.fingerprint
        )
        try:
            await self.state.bus.query(query, actor=self.actor)
        except RequestRejected as rejection:
            if rejection.code == "HISTORY_NOT_FOUND":
                return False
            raise
        return True

    async def send(
        self, message: Message, *, timeout: float | None = None, return_query: ReturnQuery | None = None
    ) -> bytes:
        """Send a command or query in the user's name and return the answer. `timeout` is in seconds.

        With `return_query`, a command is answered with the result of that query. Raises RequestRejected.
        """
        options = {"timeout": timeout} if timeout else {}
        if isinstance(message, Query):
            fetch = partial(self.state.bus.query, message, actor=self.actor, **options)
            # queries with a timeout of their own are slow and are not coalesced
            return await (fetch() if timeout else self.state.coalescer.run((message, self.actor), fetch))
        assert isinstance(message, Command)  # noqa: S101  a message is a query or a command
        return await self.state.bus.send(
            message,
            actor=self.actor,
            command_id=self.command_id(type(message)) if self.idempotency_key else None,
            fingerprint=self.fingerprint if self.idempotency_key else "",
            return_query=return_query,
            **options,
        )
