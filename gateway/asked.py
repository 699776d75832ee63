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

from contracts.errors import Refused
from contracts.history import GetAnswer
from contracts.messages import Command, Message, Query
from gateway.auth import Doorkeeper
from gateway.peers import client_address
from gateway.sharing import Sharing
from gateway.waiting import WaitingRunners
from libs.deciding import Actor
from libs.messaging import Caller, Showing
from libs.settings import Settings

KEY = re.compile(rb"[ -~]{1,255}")


@dataclass(frozen=True)
class World:
    """What every route may use of its process."""

    settings: Settings
    caller: Caller
    sharing: Sharing
    doorkeeper: Doorkeeper
    client: Client
    waiting: WaitingRunners
    closing: asyncio.Event  # set once the process is to end: whatever is held open ends then
    readers: dict[object, int] = field(default_factory=dict, init=False)  # of live events, and which user each is


def key_from(headers: Mapping[bytes, bytes]) -> str:
    """The Idempotency-Key; nothing where none was sent."""
    key = headers.get(b"idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        raise Refused("IDEMPOTENCY_KEY_INVALID")
    return (key or b"").decode()


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read."""

    world: World
    scope: Scope = field(repr=False)
    method: str
    path: str  # below /api
    captured: Mapping[str, Any]  # what the route's path captured
    query: bytes
    headers: Mapping[bytes, bytes]
    actor: Actor
    body: Mapping[str, Any]  # flattened, unless the route takes bare fields
    raw: bytes = b""  # instead, where the route takes it as it comes
    key: str = ""  # the Idempotency-Key of a write

    @property
    def address(self) -> str:
        """From where the client asks."""
        return client_address(self.scope, self.world.settings.trusted_proxies)

    def command_id(self, command: type[Command]) -> str:
        """The same key from the same user at the same address is the same command."""
        parts = (str(self.actor.id), self.method, self.path, command.__name__, self.key)
        return str(uuid5(NAMESPACE_URL, "\n".join(parts)))

    @property
    def fingerprint(self) -> str:
        """What tells it from another request at the same address."""
        told = json.dumps([self.query.decode("latin-1"), self.body], sort_keys=True)
        return sha256(told.encode()).hexdigest()

    async def was_answered(self, command: type[Command]) -> bool:
        """Whether this request was made before under its key. Refused with IDEMPOTENCY_KEY_REUSED for another one."""
        before = GetAnswer(taken_by=command.service, command_id=self.command_id(command), fingerprint=self.fingerprint)
        try:
            await self.world.caller.ask(before, actor=self.actor)
        except Refused as refused:
            if refused.code == "HISTORY_NOT_FOUND":
                return False
            raise
        return True

    async def send(self, message: Message, *, timeout: float | None = None, showing: Showing | None = None) -> bytes:
        limit = {"timeout": timeout} if timeout else {}
        if isinstance(message, Query):
            ask = partial(self.world.caller.ask, message, actor=self.actor, **limit)
            # a slow question is each caller's own
            return await (ask() if timeout else self.world.sharing.share((message, self.actor), ask))
        assert isinstance(message, Command)  # noqa: S101  there is no third kind
        return await self.world.caller.tell(
            message,
            actor=self.actor,
            command_id=self.command_id(type(message)) if self.key else None,
            fingerprint=self.fingerprint if self.key else "",
            showing=showing,
            **limit,
        )
