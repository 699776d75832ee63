"""Personal API tokens: what clients send, and the shapes in which they read it back."""

from collections.abc import Mapping
from typing import Any

from gateway.asked import Asked
from gateway.fields import day, text, texts
from gateway.routing import body
from gateway.writing import Moment, Shape, shaped

TOKEN = body("token", name=text, expires_at=day, scopes=texts.otherwise(()))


def of_oneself(asked: Asked) -> Mapping[str, Any]:
    return {"user_id": asked.actor.id}


class ApiToken(Shape):
    id: int
    uuid: str
    name: str
    scopes: tuple[str, ...]
    created_at: Moment
    expires_at: str | None
    last_used_at: Moment | None


class NewApiToken(ApiToken):
    value: str


TOKENS, NEW_TOKEN = shaped(list[ApiToken], "tokens"), shaped(NewApiToken)
