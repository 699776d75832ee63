"""A gateway on a real nats-server and a real port, with fake services behind it."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
from nats.aio.client import Client
from nats.js.api import StreamConfig
from pydantic_core import to_json

from contracts.builds import GetProjectAccess, ProjectAccessView
from contracts.errors import RequestRejected
from contracts.identity import Access, GetAccess, GetVerificationKeys, VerificationKeys
from contracts.messages import Command, CommandReply, Query
from gateway.app import Gateway, open_gateway
from gateway.http.server import Server, listen_socket
from libs.clock import Clock
from libs.eventstore.decider import Actor
from libs.messaging.jetstream import create_stream
from libs.messaging.message_server import MessageServer
from libs.messaging.nats_connection import connect, flush_to_server
from libs.messaging.request_reply import (
    ACTOR_HEADER,
    COMMAND_ID_HEADER,
    RETURN_MESSAGE_HEADER,
    ReturnMessage,
    parse_actor,
)
from libs.observability.telemetry import configure_telemetry
from libs.security.tokens import SigningKey, generate_signing_key, issue_token
from libs.settings import ApiSettings, RateLimitSettings, Settings
from tests.support.waiting import WITHIN_SECONDS, eventually

ADMIN, DEVELOPER = 1, 2
T = TypeVar("T")
Reply = Callable[[Any], Any]


@dataclass(frozen=True)
class ReceivedMessage:
    message: Any
    actor: Actor
    command_id: str | None


@dataclass
class FakeServices:
    """Fake services. They answer requests with registered functions and record the messages they receive."""

    client: Client
    received: list[ReceivedMessage] = field(default_factory=list)
    replies: dict[type[Command] | type[Query], Reply] = field(default_factory=dict)
    responders: dict[type[Command] | type[Query], MessageServer] = field(default_factory=dict)

    async def serve(self, message_type: type[Command] | type[Query], reply: Reply) -> None:
        """Answer this message type with the result of `reply` or the rejection that `reply` raises."""
        self.replies[message_type] = reply
        if message_type in self.responders:
            return

        async def respond(body: bytes, headers: Mapping[str, str]) -> bytes:
            message = message_type.model_validate_json(body)
            return to_json(self._reply(message, headers))

        responder = self.responders[message_type] = MessageServer(self.client, message_type.service)
        await responder.serve(message_type, respond)
        await flush_to_server(self.client, WITHIN_SECONDS)

    def _reply(self, message: Any, headers: Mapping[str, str]) -> Any:
        """Answer as a service does: after a command, also answer the message that the gateway attached to it."""
        self.received.append(ReceivedMessage(message, parse_actor(headers), headers.get(COMMAND_ID_HEADER)))
        answer = self.replies[type(message)](message)
        if RETURN_MESSAGE_HEADER not in headers:
            return answer
        stream = answer.stream if isinstance(answer, CommandReply) else answer["stream"]
        known = {reply_type.wire_name: reply_type for reply_type in self.replies}
        follow_up = ReturnMessage.parse(headers[RETURN_MESSAGE_HEADER], known)
        return self._reply(follow_up.about(stream), {ACTOR_HEADER: headers[ACTOR_HEADER]})

    async def stop(self, message_type: type[Command] | type[Query]) -> None:
        await self.responders.pop(message_type).stop(1)
        await flush_to_server(self.client, WITHIN_SECONDS)

    def received_of(self, message_type: type[Command] | type[Query]) -> list[ReceivedMessage]:
        return [received for received in self.received if isinstance(received.message, message_type)]


@dataclass
class FakeUsers:
    """A fake identity service: users, their access and their tokens."""

    key: SigningKey = field(default_factory=generate_signing_key)
    access: dict[int, Access] = field(default_factory=dict)

    def add(self, user_id: int, *roles: str, enabled: bool = True, epoch: int = 1) -> None:
        self.access[user_id] = Access(
            user_id=user_id, user_uuid="u", username=f"user{user_id}", enabled=enabled, roles=roles, epoch=epoch
        )

    def get(self, query: GetAccess) -> Access:
        if query.user_id not in self.access:
            raise RequestRejected("DEVELOPER_NOT_FOUND")
        return self.access[query.user_id]

    def token(self, user_id: int, *, epoch: int = 1, lifetime: int = 3600, age: int = 0) -> str:
        now = datetime.now(UTC) - timedelta(seconds=age)
        return issue_token(
            self.key, subject=user_id, username="old name", roles=(), epoch=epoch, now=now, lifetime=lifetime
        )


@dataclass
class GatewayStage:
    http: httpx.AsyncClient
    services: FakeServices
    users: FakeUsers
    gateway: Gateway
    server: Server
    client: Client  # connection with which tests publish events

    def bearer(self, user_id: int, **more: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.users.token(user_id, **more)}"}

    @property
    def admin(self) -> dict[str, str]:
        return self.bearer(ADMIN)

    @property
    def developer(self) -> dict[str, str]:
        return self.bearer(DEVELOPER)


@asynccontextmanager
async def running_gateway(settings: Settings, clock: Clock | None = None) -> AsyncIterator[tuple[Gateway, Server, str]]:
    telemetry = configure_telemetry("gateway", "test", None)
    async with open_gateway(settings, telemetry, clock) as gateway:
        with listen_socket("127.0.0.1", 0) as sock:
            server = Server(gateway)
            task = asyncio.create_task(server.serve(sockets=[sock]))
            try:
                await eventually(lambda: asyncio.sleep(0, server.started))
                scheme = "https" if settings.tls_certificate else "http"
                yield gateway, server, f"{scheme}://127.0.0.1:{sock.getsockname()[1]}"
            finally:
                server.begin_shutdown()
                server.begin_shutdown()  # a second call ends the drain period
                await task
                telemetry.shutdown()


@asynccontextmanager
async def open_gateway_stage(
    nats_url: str,
    *,
    long_poll_seconds: float = 2.0,
    leave_seconds: float = 0.0,
    api: ApiSettings = ApiSettings(),  # noqa: B008  frozen
    rate_limit: RateLimitSettings = RateLimitSettings(),  # noqa: B008  frozen
) -> AsyncIterator[GatewayStage]:
    settings = Settings(
        nats_url=nats_url, url="http://ci.example", leave_seconds=leave_seconds, api=api, rate_limit=rate_limit
    ).model_copy(
        update={"long_poll_seconds": long_poll_seconds}  # model_copy does not validate the limits
    )
    client = await connect(settings, "services")
    for name in ("builds", "runners"):
        await create_stream(client.jetstream(), StreamConfig(name=name, subjects=[f"evt.{name}.>"]))
    services, users = FakeServices(client), FakeUsers()
    users.add(ADMIN, "ROLE_ADMIN")
    users.add(DEVELOPER, "ROLE_DEVELOPER")
    await services.serve(GetVerificationKeys, lambda _: VerificationKeys(keys={users.key.kid: users.key.public_pem}))
    await services.serve(GetAccess, users.get)
    await services.serve(GetProjectAccess, lambda _: ProjectAccessView())
    async with running_gateway(settings) as (gateway, server, url), httpx.AsyncClient(base_url=url, timeout=60) as http:
        yield GatewayStage(http, services, users, gateway, server, client)
    for name in ("builds", "runners"):
        await client.jetstream().delete_stream(name)
    await client.close()


def command_result(stream: str, **row: Any) -> CommandReply:
    return CommandReply(stream=stream, version=1, row=row)
