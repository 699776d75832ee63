"""A request as routes see it, and what they may use to answer it."""

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
    """What every route may use of its process."""

    settings: Settings
    bus: MessageClient
    coalescer: RequestCoalescer
    authenticator: Authenticator
    nats: Client
    long_polls: LongPollQueue
    shutting_down: asyncio.Event  # set once the process is to end: whatever is held open ends then
    event_readers: dict[object, int] = field(default_factory=dict, init=False)  # of live events, and which user each is


def read_idempotency_key(headers: Mapping[bytes, bytes]) -> str:
    """The Idempotency-Key; nothing where none was sent."""
    key = headers.get(b"idempotency-key")
    if key is not None and not IDEMPOTENCY_KEY.fullmatch(key):
        raise RequestRejected("IDEMPOTENCY_KEY_INVALID")
    return (key or b"").decode()


@dataclass(frozen=True, slots=True)
class RequestContext:
    """A request, read."""

    state: AppState
    scope: Scope = field(repr=False)
    method: str
    path: str  # below /api
    path_params: Mapping[str, Any]  # what the route's path captured
    query: bytes
    headers: Mapping[bytes, bytes]
    actor: Actor
    body: Mapping[str, Any]  # flattened, unless the route takes bare fields
    raw_body: bytes = b""  # instead, where the route takes it as it comes
    idempotency_key: str = ""  # the Idempotency-Key of a write

    @property
    def client_ip(self) -> str:
        """From where the client asks."""
        return client_ip(self.scope, self.state.settings.trusted_proxies)

    def command_id(self, command: type[Command]) -> str:
        """The same key from the same user at the same address is the same command."""
        parts = (str(self.actor.id), self.method, self.path, command.wire_name, self.idempotency_key)
        return str(uuid5(NAMESPACE_URL, "\n".join(parts)))

    @property
    def fingerprint(self) -> str:
        """What tells it from another request at the same address."""
        told = json.dumps([self.query.decode("latin-1"), self.body], sort_keys=True)
        return sha256(told.encode()).hexdigest()

    async def has_recorded_response(self, command: type[Command]) -> bool:
        """Whether this request was made before under its key. Refused with IDEMPOTENCY_KEY_REUSED for another one."""
        before = GetCommandReply(
            taken_by=command.service, command_id=self.command_id(command), fingerprint=self.fingerprint
        )
        try:
            await self.state.bus.query(before, actor=self.actor)
        except RequestRejected as refused:
            if refused.code == "HISTORY_NOT_FOUND":
                return False
            raise
        return True

    async def send(
        self, message: Message, *, timeout: float | None = None, showing: ReturnQuery | None = None
    ) -> bytes:
        limit = {"timeout": timeout} if timeout else {}
        if isinstance(message, Query):
            ask = partial(self.state.bus.query, message, actor=self.actor, **limit)
            # a slow question is each caller's own
            return await (ask() if timeout else self.state.coalescer.run((message, self.actor), ask))
        assert isinstance(message, Command)  # noqa: S101  there is no third kind
        return await self.state.bus.send(
            message,
            actor=self.actor,
            command_id=self.command_id(type(message)) if self.idempotency_key else None,
            fingerprint=self.fingerprint if self.idempotency_key else "",
            return_query=showing,
            **limit,
        )
