"""How answers of services become the bodies that clients read: a shape per resource, bytes in and bytes out."""

from collections.abc import Callable
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter
from pydantic_core import from_json

from contracts.messages import Message
from gateway.context import RequestContext

Moment = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""Passed on as it came; reading it would only cost time."""


class Shape(BaseModel):
    """What a client reads; fields that it does not name are left out."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Writer:
    """Makes a body of an answer; the adapter describes it.

    Of the request it may use nothing but the world: whoever asks the same at the same time gets the same body.
    """

    def __init__(
        self, shape: Any, write: Callable[[bytes, RequestContext, Message], bytes], media: str = "application/json"
    ) -> None:
        self.adapter: TypeAdapter[Any] = TypeAdapter(shape)
        self._write = write
        self.media = media

    def __call__(self, answer: bytes, asked: RequestContext, message: Message) -> bytes:
        return self._write(answer, asked, message)


def as_it_is(shape: Any, media: str = "application/json") -> Writer:
    """The service's answer already has this shape."""
    return Writer(shape, lambda answer, _asked, _message: answer, media)


def shaped(shape: Any, under: str = "") -> Writer:
    """One thing or a list of things, read with the request as context; `under` names the member that holds them."""
    adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def write(answer: bytes, asked: RequestContext, _message: Message) -> bytes:
        found = (
            adapter.validate_python(from_json(answer)[under], context=asked)
            if under
            else adapter.validate_json(answer, context=asked)
        )
        return adapter.dump_json(found)

    return Writer(shape, write)


def row(shape: type[Shape]) -> Writer:
    """The row of the main view, as it is after the command."""
    return shaped(shape, "row")


def echoed(shape: type[Shape], secret: str) -> Writer:
    """With the secret that came with the command: whoever sent it may see it without a look being recorded."""
    adapter: TypeAdapter[Any] = TypeAdapter(shape)

    def write(answer: bytes, _asked: RequestContext, message: Message) -> bytes:
        return adapter.dump_json(adapter.validate_python({**from_json(answer), secret: getattr(message, secret)}))

    return Writer(shape, write)
