"""The commands and queries in the AsyncAPI document: subject, headers, payload and replies of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from contracts.errors import Failure
from contracts.heartbeat import DatabaseTime, Heartbeat
from contracts.history import Activity, GetActivity, GetCommandReply, GetHistory, GetState, History, StreamState
from contracts.messages import Command, CommandReply, Message, Payload, Query
from contracts.process_status import GetProcessStatus, ProcessStatus
from infra.docgen.declarations import ServiceDeclaration, first_line
from infra.docgen.golden_samples import build_sample
from libs.messaging.request_reply import (
    ACTOR_HEADER,
    COMMAND_ID_HEADER,
    FAILURE_HEADER,
    FINGERPRINT_HEADER,
    MAY_BE_DUPLICATE_HEADER,
    RETURN_MESSAGE_HEADER,
    TRACE_HEADER,
)

REPLIES = "replies"
BYTES = "Bytes"
ANSWERS_OF_EVERY_SERVICE: dict[type[Query], type[Message]] = {
    GetCommandReply: CommandReply,
    GetHistory: History,
    GetState: StreamState,
    GetActivity: Activity,
    Heartbeat: DatabaseTime,
    GetProcessStatus: ProcessStatus,
}
HEADERS = {
    ACTOR_HEADER: "the user for whom the request is sent, as a JSON array of number, name and roles; without it: the system",
    COMMAND_ID_HEADER: "id of a command, which is recorded only once under this id",
    MAY_BE_DUPLICATE_HEADER: "1: the command may have been sent before with the same id",
    FINGERPRINT_HEADER: "hash of the HTTP request; must equal that of the first command with this id",
    RETURN_MESSAGE_HEADER: "a query or command whose answer replaces the reply, as a JSON array of name, field of the id, and other fields",
    TRACE_HEADER: "W3C trace context",
}


@dataclass(frozen=True)
class Request:
    subject: str
    message: type[Command] | type[Query]
    answer: Any  # type of the answer
    service: str = ""  # empty: answered by every service

    @property
    def key(self) -> str:
        """The key of the request's objects in the document."""
        return self.subject.replace("{service}", "service")

    @property
    def replies(self) -> list[str]:
        return [_answer_name(self.answer), Failure.wire_name]


def list_requests(declared: Sequence[ServiceDeclaration]) -> list[Request]:
    requests = []
    for declaration in declared:
        types: list[type[Command] | type[Query]] = [*declaration.commands, *declaration.queries]
        requests += [
            Request(message.subject(), message, declaration.answer_type(message), declaration.name) for message in types
        ]
    common = [
        Request(f"qry.{{service}}.{query.wire_name}", query, answer)
        for query, answer in ANSWERS_OF_EVERY_SERVICE.items()
    ]
    return requests + common


def list_answers(declared: Sequence[ServiceDeclaration]) -> list[type[Message]]:
    """Return the message types of all answers, for lists the type of their items, and the Failure."""
    types = (_item_type(request.answer) for request in list_requests(declared))
    return [*dict.fromkeys(type_ for type_ in types if type_ is not bytes), Failure]


def request_headers_schema() -> Payload:
    return {
        "type": "object",
        "properties": {name: {"type": "string", "description": text} for name, text in HEADERS.items()},
    }


def build_requests(declared: Sequence[ServiceDeclaration]) -> Payload:
    """Return the channels, operations and messages of all commands and queries."""
    requests = list_requests(declared)
    answers = {_answer_name(request.answer): request.answer for request in requests} | {Failure.wire_name: Failure}
    return {
        "channels": {request.key: _channel_object(request) for request in requests}
        | {
            REPLIES: {
                "address": None,
                "description": f"The reply subject of a request. A reply with the header `{FAILURE_HEADER}` is a Failure.",
                "messages": {name: {"$ref": f"#/components/messages/reply.{name}"} for name in answers},
            }
        },
        "operations": {request.key: _operation_object(request) for request in requests},
        "messages": {request.key: _message_object(request) for request in requests}
        | {f"reply.{name}": _reply_object(name, answer) for name, answer in answers.items()},
    }


def _channel_object(request: Request) -> Payload:
    parameters = {} if request.service else {"parameters": {"service": {"description": "any service"}}}
    return {
        "address": request.subject,
        "description": first_line(request.message) or f"{request.message.wire_name} of the service {request.service}.",
        "messages": {request.message.wire_name: {"$ref": f"#/components/messages/{request.key}"}},
        **parameters,
        "servers": [{"$ref": "#/servers/nats"}],
    }


def _operation_object(request: Request) -> Payload:
    name = request.message.wire_name
    tags = {"tags": [{"name": request.service}]} if request.service else {}
    return {
        "action": "receive",
        "channel": {"$ref": f"#/channels/{request.key}"},
        "summary": f"{request.service.capitalize() or 'Every service'} answers {name}.",
        **tags,
        "messages": [{"$ref": f"#/channels/{request.key}/messages/{name}"}],
        "reply": {
            "channel": {"$ref": f"#/channels/{REPLIES}"},
            "messages": [{"$ref": f"#/channels/{REPLIES}/messages/{reply}"} for reply in request.replies],
        },
    }


def _message_object(request: Request) -> Payload:
    message = request.message
    summary = {"summary": line} if (line := first_line(message)) else {}
    return {
        "name": message.wire_name,
        "title": message.wire_name,
        **summary,
        "contentType": "application/json",
        "headers": {"$ref": "#/components/schemas/RequestHeaders"},
        "payload": {"$ref": f"#/components/schemas/{message.__name__}"},
        "examples": [{"name": message.wire_name, "payload": build_sample(message)}],
    }


def _reply_object(name: str, answer: Any) -> Payload:
    if answer is bytes:
        return {"name": name, "title": name, "contentType": "application/octet-stream", "payload": {"type": "string"}}
    payload: Payload = {"$ref": f"#/components/schemas/{_item_type(answer).__name__}"}
    if answer is not _item_type(answer):
        payload = {"type": "array", "items": payload}
    failed = {"type": "object", "properties": {FAILURE_HEADER: {"const": "1"}}, "required": [FAILURE_HEADER]}
    headers = {"headers": failed} if answer is Failure else {}
    return {"name": name, "title": name, "contentType": "application/json", **headers, "payload": payload}


def _item_type(answer: Any) -> Any:
    """Return the type of a list's items, or the type itself if it is not a list."""
    return get_args(answer)[0] if get_args(answer) else answer


def _answer_name(answer: Any) -> str:
    if answer is bytes:
        return BYTES
    return f"{_item_type(answer).__name__}List" if get_args(answer) else answer.__name__
