"""Commands and queries over NATS request/reply: message headers and the client. See `message_server` for the server.

An error is a reply, too: a reply with the header `Failure` contains a Failure, any other reply contains the result.
"""

import json
from collections.abc import Collection, Mapping
from uuid import uuid4

from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.errors import MaxPayloadError, NoRespondersError

from contracts.errors import Failure, RequestRejected
from contracts.messages import Command, Message, Query
from libs.eventstore.decider import SYSTEM, Actor
from libs.observability.tracing import NATS, SpanKind, child_span, inject

COMMAND_ID_HEADER = "Headrace-Command-Id"
RETURN_MESSAGE_HEADER = "Headrace-Showing"
MAY_BE_DUPLICATE_HEADER = "Headrace-Repeatable"
FINGERPRINT_HEADER = "Headrace-Fingerprint"
ACTOR_HEADER = "Headrace-Actor"
TRACE_HEADER = "traceparent"
FAILURE_HEADER = "Failure"
REQUEST_TIMEOUT_SECONDS = 8.0  # long enough for a busy machine, and for the election of a database primary

Headers = Mapping[str, str]


class ReturnMessage:
    """A query or command about a command's stream that is sent with the command. Its answer replaces the reply."""

    def __init__(self, message: type[Command] | type[Query], id_field: str, **fixed: object) -> None:
        """`id_field` gets the id in the name of the stream.

        Raises TypeError if a field is unknown, or if a required field stays without a value. The service of the command
        must accept `message`: use `check_follows`.
        """
        fields = message.model_fields
        given = {id_field, *fixed}
        missing = {name for name, field in fields.items() if field.is_required()} - given
        if unknown := given - set(fields):
            raise TypeError(f"{message.wire_name} has no field {min(unknown)}")
        if missing:
            raise TypeError(f"{message.wire_name} needs a value for {min(missing)}")
        self.message = message
        self.header = json.dumps([message.wire_name, id_field, fixed])
        self._id_field = id_field
        self._fixed = fixed

    @classmethod
    def parse(cls, header: str, messages: Mapping[str, type[Command] | type[Query]]) -> "ReturnMessage":
        """Parse the header. Raises RequestRejected if it is malformed or its message is not one of `messages`."""
        try:
            name, id_field, fixed = json.loads(header)
            return cls(messages[name], id_field, **fixed)
        except (KeyError, TypeError, ValueError):
            raise RequestRejected("REQUEST_INVALID", f"the header {RETURN_MESSAGE_HEADER} is not valid") from None

    def check_follows(self, command: type[Message]) -> None:
        """Raise TypeError unless `command` is a command of the same service."""
        if not issubclass(command, Command) or command.service != self.message.service:
            raise TypeError(f"{self.message.wire_name} cannot follow {command.wire_name}")

    def about(self, stream: str) -> Command | Query:
        return self.message.model_validate({self._id_field: stream.partition("-")[2], **self._fixed})


class MessageClient:
    """Sends commands and queries to services. Any replica of the service may handle them."""

    def __init__(self, client: Client, allowed: Collection[type[Message]] | None = None) -> None:
        """`allowed`: message types that may be sent; None: all. Another type raises TypeError.

        Without this check, NATS would drop a message that the permissions do not allow, and the request would time out.
        """
        self._client = client
        self._allowed = allowed

    async def query(self, query: Query, *, actor: Actor = SYSTEM, timeout: float = REQUEST_TIMEOUT_SECONDS) -> bytes:
        """Send a query and return the answer's JSON.

        Raises RequestRejected with the service's error code, or with SERVICE_UNAVAILABLE, SERVICE_TIMEOUT or
        REQUEST_TOO_LARGE.
        """
        return await self._request(query.target_subject(), query, {ACTOR_HEADER: _encode_actor(actor)}, timeout)

    async def send(
        self,
        command: Command,
        *,
        actor: Actor = SYSTEM,
        command_id: str | None = None,
        fingerprint: str = "",
        may_be_duplicate: bool = True,
        return_message: ReturnMessage | None = None,
        timeout: float = REQUEST_TIMEOUT_SECONDS,
    ) -> bytes:
        """Send a command and return the answer's JSON. With a `command_id`, the command can be sent again safely.

        `may_be_duplicate`: whether the service looks for an earlier command with this id before it handles this one. In
        any case, a command with a known id is not recorded a second time. Raises RequestRejected like `query`, and with
        IDEMPOTENCY_KEY_REUSED if the first command with this id had another `fingerprint`.
        """
        headers = {ACTOR_HEADER: _encode_actor(actor), COMMAND_ID_HEADER: command_id or str(uuid4())}
        if return_message:
            headers[RETURN_MESSAGE_HEADER] = return_message.header
        if command_id and may_be_duplicate:
            headers[MAY_BE_DUPLICATE_HEADER] = "1"
        if fingerprint:
            headers[FINGERPRINT_HEADER] = fingerprint
        return await self._request(command.subject(), command, headers, timeout)

    async def _request(self, subject: str, message: Message, headers: dict[str, str], timeout: float) -> bytes:
        if self._allowed is not None and type(message) not in self._allowed:
            raise TypeError(f"{message.wire_name} is not a declared outgoing message")
        attributes = {**NATS, "messaging.destination.name": subject}
        with child_span(message.wire_name, SpanKind.CLIENT, attributes):
            if trace := inject():
                headers[TRACE_HEADER] = trace
            return await self._request_once(subject, message, headers, timeout)

    async def _request_once(self, subject: str, message: Message, headers: dict[str, str], timeout: float) -> bytes:
        if not self._client.is_connected:
            # nats-py would buffer the request and might send it long after the caller got the error
            raise RequestRejected("SERVICE_UNAVAILABLE", "the message bus is not reachable")
        service = _service_name(subject)
        try:
            reply = await self._client.request(
                subject, message.model_dump_json().encode(), timeout=timeout, headers=headers
            )
        except NoRespondersError:
            raise RequestRejected("SERVICE_UNAVAILABLE", f"no process of the service {service} is running") from None
        except MaxPayloadError:
            raise RequestRejected("REQUEST_TOO_LARGE") from None
        except NatsError:  # including a lost connection: the outcome is unknown
            raise RequestRejected("SERVICE_TIMEOUT", f"the service {service} did not answer") from None
        if reply.headers and FAILURE_HEADER in reply.headers:
            failure = Failure.model_validate_json(reply.data)
            raise RequestRejected(failure.code, failure.detail, retry_after=failure.retry_after)
        return reply.data


def _service_name(subject: str) -> str:
    return subject.split(".")[1]


def _encode_actor(actor: Actor) -> str:
    return json.dumps([actor.id, actor.name, list(actor.roles)])


def parse_actor(headers: Headers) -> Actor:
    """Return the actor of a request. Without an actor header it is the system."""
    if ACTOR_HEADER not in headers:
        return SYSTEM
    id_, name, roles = json.loads(headers[ACTOR_HEADER])
    return Actor(id_, name, tuple(roles))
