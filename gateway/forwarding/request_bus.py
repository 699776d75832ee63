"""The message bus as the handler of one request sees it: it adds the user and the idempotency key."""

import json
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from fastapi import Request
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.history import GetCommandReply
from contracts.messages import Command, Message, Query
from gateway.context import AppState
from gateway.forwarding.paged_queries import fetch_answer
from gateway.forwarding.serializers import ResponseContext, Serializer
from gateway.http.json_request import JsonRequest
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage


class RequestBus:
    """Sends the messages of one request in the user's name."""

    def __init__(self, request: Request, state: AppState, idempotency_key: str | None = None) -> None:
        """`idempotency_key` is the value of the Idempotency-Key header. If it is None, commands get random ids."""
        self.state = state
        self._request = request
        self._idempotency_key = idempotency_key
        self._path = request.scope["path"].removeprefix("/api")

    async def send(
        self,
        message: Message,
        user: Actor,
        *,
        timeout: float | None = None,
        return_message: ReturnMessage | None = None,
    ) -> bytes:
        """Send a command or query and return the answer. `timeout` is in seconds.

        With `return_message`, a command is answered with the result of that message. Raises RequestRejected.
        """
        options: dict[str, Any] = {"timeout": timeout} if timeout else {}
        if isinstance(message, Query):
            fetch = partial(fetch_answer, message, partial(self.state.bus.query, actor=user, **options))
            # queries with a timeout of their own are slow and are not coalesced
            return await (fetch() if timeout else self.state.coalescer.run((message, user), fetch))
        assert isinstance(message, Command)  # noqa: S101  a message is a query or a command
        key = self._idempotency_key
        return await self.state.bus.send(
            message,
            actor=user,
            command_id=self._command_id(type(message), user, key) if key else None,
            fingerprint=await self._fingerprint() if key else "",
            return_message=return_message,
            **options,
        )

    async def respond(
        self,
        message: Message,
        user: Actor,
        serializer: Serializer,
        *,
        status_code: int = 200,
        timeout: float | None = None,
        return_message: ReturnMessage | None = None,
    ) -> Response:
        """Send a command or query and build the response from its answer. Raises RequestRejected.

        Equal concurrent queries share a response, unless they have a timeout of their own.
        """
        if isinstance(message, Query) and not timeout:
            fetch = partial(self._query, message, user, serializer)
            body = await self.state.coalescer.run((self._path, message, user), fetch)
        else:
            answer = await self.send(message, user, timeout=timeout, return_message=return_message)
            body = serializer(answer, self.response_context, message)
        return Response(body, status_code, media_type=serializer.media_type)

    @property
    def response_context(self) -> ResponseContext:
        return ResponseContext(self.state.settings.url, self._path)

    async def has_recorded_response(self, command: type[Command], user: Actor) -> bool:
        """Return whether a request with this Idempotency-Key was handled before. False without a key.

        Raises IDEMPOTENCY_KEY_REUSED if the key was used for a different request.
        """
        if not self._idempotency_key:
            return False
        query = GetCommandReply(
            taken_by=command.service,
            command_id=self._command_id(command, user, self._idempotency_key),
            fingerprint=await self._fingerprint(),
        )
        try:
            await self.state.bus.query(query, actor=user)
        except RequestRejected as rejection:
            if rejection.code == "HISTORY_NOT_FOUND":
                return False
            raise
        return True

    async def _query(self, query: Query, user: Actor, serializer: Serializer) -> bytes:
        answer = await fetch_answer(query, partial(self.state.bus.query, actor=user))
        return serializer(answer, self.response_context, query)

    def _command_id(self, command: type[Command], user: Actor, key: str) -> str:
        """Return an id derived from user, method, path, command and idempotency key: a retry has the same id."""
        parts = (str(user.id), self._request.method, self._path, command.wire_name, key)
        return str(uuid5(NAMESPACE_URL, "\n".join(parts)))

    async def _fingerprint(self) -> str:
        """Return a hash of query and body that distinguishes a retry from another request with the same key."""
        query = self._request.scope["query_string"].decode("latin-1")
        content = json.dumps([query, await self._body()], sort_keys=True)
        return sha256(content.encode()).hexdigest()

    async def _body(self) -> Mapping[str, Any]:
        """Return the parsed body, or nothing for a route that ignores it."""
        if isinstance(self._request, JsonRequest) and self._request.scope["route"].body_field:
            return await self._request.parse()
        return {}
