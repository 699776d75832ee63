"""Serialization of service answers to response bodies, with a response model per resource."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import from_json

from contracts.messages import Message
from gateway.context import RequestContext

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""A time in ISO 8601, unchanged from the service's answer."""


class Shape(BaseModel):
    """Base of response models; undeclared fields of the answer are dropped."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Writer:
    """Converts a service's answer to a response body; `adapter` has the body's JSON schema.

    Concurrent equal requests share one response, so a Writer may depend on nothing but the message, the user and the
    application state.
    """

    def __init__(
        self, shape: Any, write: Callable[[bytes, RequestContext, Message], bytes], media: str = "application/json"
    ) -> None:
        self.adapter: TypeAdapter[Any] = TypeAdapter(shape)
        self._write = write
        self.media = media

    def __call__(self, answer: bytes, context: RequestContext, message: Message) -> bytes:
        return self._write(answer, context, message)


def as_it_is(shape: Any, media: str = "application/json") -> Writer:
    """Return a Writer for answers that already have the form of the response body, which `shape` describes."""
    return Writer(shape, lambda answer, _context, _message: answer, media)


def shaped(shape: Any, under: str = "") -> Writer:
    """Return a Writer that converts the answer to the model `shape`, with the request as validation context.

    `under`: the member of the answer to convert instead of the whole answer.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def write(answer: bytes, context: RequestContext, _message: Message) -> bytes:
        found = (
            adapter.validate_python(from_json(answer)[under], context=context)
            if under
            else adapter.validate_json(answer, context=context)
        )
        return adapter.dump_json(found)

    return Writer(shape, write)


def row(shape: type[Shape]) -> Writer:
    """Return a Writer that converts the read model's row in the answer to a command."""
    return shaped(shape, "row")


def echoed(shape: type[Shape], secret: str) -> Writer:
    """Return a Writer that converts the answer and adds the message's field `secret`.

    The client has sent this value itself, so that returning it needs no access record.
    """
    adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def write(answer: bytes, _context: RequestContext, message: Message) -> bytes:
        return adapter.dump_json(adapter.validate_python({**from_json(answer), secret: getattr(message, secret)}))

    return Writer(shape, write)
