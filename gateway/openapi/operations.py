"""The OpenAPI operation of a route."""

import re
from http import HTTPStatus
from inspect import getdoc
from typing import Any

from contracts.messages import Command, Message, Query
from gateway.auth import Role
from gateway.framework.route_table import Route
from gateway.openapi.failures import failures
from gateway.openapi.requests import CAPTURED, parameters, request_body
from gateway.openapi.tags import tag_of
from gateway.openapi.words import WORDS
from gateway.token_scopes import required_scope


def operation(route: Route, path: str, answer: Any, shown: Any) -> dict[str, Any]:
    """Return the operation of a route. `answer`: schema of the response; `shown`: an example response."""
    found: dict[str, Any] = {
        "operationId": route.method.lower() + re.sub(r"\W+", "_", CAPTURED.sub(r"\1", route.path)),
        "tags": [tag_of(route.path)],
        "summary": _summary(route),
        "description": _description(route),
        "parameters": parameters(route, path),
        "responses": {**_successes(route, answer, shown), **failures(route)},
        "security": [] if route.needs is Role.ANONYMOUS else [{"bearer": []}, {"token": []}],
    }
    if body := request_body(route):
        found["requestBody"] = body
    return found


def _summary(route: Route) -> str:
    name = _name(route).removesuffix("Page").replace("_", " ")
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()
    return re.sub(r"\b(api|ssh)\b", lambda match: match[0].upper(), words)


def _name(route: Route) -> str:
    """Return the name of the message's class, or of the handler function."""
    return route.message.__name__ if route.message else getattr(route.answer, "__name__", "")


def _description(route: Route) -> str:
    return f"{_meaning(route)} {_needs(route)}".strip()


def _needs(route: Route) -> str:
    if route.needs is Role.ANONYMOUS:
        return "No token required."
    scope = required_scope(route.method, route.path)
    personal = f"a personal token needs the scope {scope}" if scope else "personal tokens are not accepted"
    return f"Needs {route.needs}; {personal}."


def _meaning(route: Route) -> str:
    """Return the route's description from WORDS, else the first line of the message's or handler's docstring."""
    if description := WORDS.get(_name(route)):
        return description
    if route.message is None:
        return (getdoc(route.answer) or "").partition("\n")[0]
    inherited = {getdoc(one) for one in (Message, Command, Query)}
    own = getdoc(route.message)
    return "" if own is None or own in inherited else re.split(r"\n| (?:Answer|Errors): ", own)[0]


def _successes(route: Route, answer: Any, shown: Any) -> dict[str, Any]:
    return {str(status): _success(route, status, answer, shown) for status in (route.status, route.also) if status}


def _success(route: Route, status: int, answer: Any, shown: Any) -> dict[str, Any]:
    phrase = HTTPStatus(status).phrase
    if answer is None:
        return {"description": f"{phrase}, with an empty body"}
    media = route.write.media if route.write else "application/json"
    return {"description": phrase, "content": {media: {"schema": answer, "example": shown}}}
