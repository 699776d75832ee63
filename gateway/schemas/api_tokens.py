"""Request fields and response models of personal API tokens."""

from collections.abc import Mapping
from typing import Any

from gateway.context import RequestContext
from gateway.framework.fields import day, text, texts
from gateway.framework.route_table import body
from gateway.framework.serializers import Moment, Shape, shaped

TOKEN = body("token", name=text, expires_at=day, scopes=texts.otherwise(()))


def add_own_user_id(context: RequestContext) -> Mapping[str, Any]:
    return {"user_id": context.actor.id}


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
