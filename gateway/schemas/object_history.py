"""Queries for an object's history, or its state at a point in time, from the parameters of a request."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from contracts.errors import RequestRejected
from contracts.history import GetHistory, GetState, StreamQuery

MAX_PAGE_SIZE = 1000


def build_query(path_params: Mapping[str, Any], parameters: Mapping[str, str]) -> StreamQuery:
    if "at" in parameters or "version" in parameters:
        at = {"at": parse_time(parameters["at"])} if "at" in parameters else {}
        version = {"version": parameters["version"]} if "version" in parameters else {}
        return _validate(GetState, {**path_params, **at, **version})
    order = parameters.get("order_by", parameters.get("orderBy", "ASC")).upper()
    if order not in ("ASC", "DESC"):
        raise RequestRejected("REQUEST_MALFORMED", "order_by must be ASC or DESC.")
    fields = {"limit": parse_page_size(parameters), "newest_first": order == "DESC", **path_params}
    return _validate(GetHistory, fields | ({"after": parameters["after"]} if "after" in parameters else {}))


def parse_page_size(parameters: Mapping[str, str]) -> int:
    text = parameters.get("per_page", parameters.get("perPage", "100"))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RequestRejected("REQUEST_MALFORMED", "per_page must be a whole number.")
    return min(max(int(text), 1), MAX_PAGE_SIZE)


def parse_time(text: str) -> datetime:
    for candidate in (text, text.replace(" ", "+")):  # an unescaped plus sign arrives as a space
        try:
            at = datetime.fromisoformat(candidate)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise RequestRejected("REQUEST_MALFORMED", "at must be a time in ISO 8601, like 2026-01-31T12:00:00Z, or a date.")


def _validate(message: type[StreamQuery], fields: Mapping[str, Any]) -> StreamQuery:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        first_error = error.errors(include_input=False, include_url=False, include_context=False)[0]
        if first_error["loc"][0] in ("kind", "id"):
            raise RequestRejected("HISTORY_NOT_FOUND") from None
        raise RequestRejected("REQUEST_MALFORMED", f"{first_error['loc'][0]}: {first_error['msg']}.") from None
