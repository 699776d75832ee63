"""Serialization of service answers to response bodies, with a response model per resource."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import from_json

from contracts.messages import Message

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in ISO 8601, unchanged from the service's answer."""


class ResponseModel(BaseModel):
    """Base of response models; undeclared fields of the answer are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)


@dataclass(frozen=True, slots=True)
class ResponseContext:
    """What a response may depend on besides the answer and its message."""

    url: str  # URL of this server
    path: str  # path of the request, below /api


class Serializer:
    """Converts a service's answer to a response body. `model` describes the body; None: it is empty.

    Concurrent equal requests share one response, so it may depend on nothing but the arguments of the call.
    """

    def __init__(
        self,
        model: Any,
        convert: Callable[[bytes, ResponseContext, Message], bytes],
        media_type: str | None = "application/json",
    ) -> None:
        self.model = model
        self.media_type = media_type
        self._convert = convert

    def __call__(self, answer: bytes, context: ResponseContext, message: Message) -> bytes:
        return self._convert(answer, context, message)


NOTHING = Serializer(None, lambda _answer, _context, _message: b"", None)
"""The serializer of empty responses."""


def passthrough(model: Any, media_type: str = "application/json") -> Serializer:
    """Return a serializer for answers that already have the form of the response body, which `model` describes."""
    return Serializer(model, lambda answer, _context, _message: answer, media_type)


def serialize(model: Any, under: str = "") -> Serializer:
    """Return a serializer that converts the answer to `model`, with the ResponseContext as validation context.

    `under`: the member of the answer to convert instead of the whole answer.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(model)

    def convert(answer: bytes, context: ResponseContext, _message: Message) -> bytes:
        found = (
            adapter.validate_python(from_json(answer)[under], context=context)
            if under
            else adapter.validate_json(answer, context=context)
        )
        return adapter.dump_json(found)

    return Serializer(model, convert)


def serialize_row(model: type[ResponseModel]) -> Serializer:
    """Return a serializer that converts the read model's row in the answer to a command."""
    return serialize(model, "row")


def serialize_with_secret(model: type[ResponseModel], secret: str) -> Serializer:
    """Return a serializer that converts the answer and adds the field of the message whose name is `secret`.

    The client has just sent this value itself, so returning it is not recorded as an access to the secret.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(model)

    def convert(answer: bytes, _context: ResponseContext, message: Message) -> bytes:
        return adapter.dump_json(adapter.validate_python({**from_json(answer), secret: getattr(message, secret)}))

    return Serializer(model, convert)
