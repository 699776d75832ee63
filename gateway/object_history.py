"""`GET /api/admin/history/<kind>/<id>`: what happened to a thing, or what it was like at a moment."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.responses import Response

from contracts.errors import RequestRejected
from contracts.history import GetHistory, GetState, History, StreamQuery, StreamState
from gateway.context import RequestContext
from gateway.framework.serializers import as_it_is

TIMEOUT_SECONDS = 10.0  # seconds: a long log is folded for it
HISTORY_OR_STATE = as_it_is(History | StreamState)
PARAMETERS = {
    "after": "go on behind this version, in the order asked for: the `next` of the answer before",
    "per_page": "entries at once, at most 1000, 100 unless told; fewer come where they would be too large",
    "order_by": "`ASC`, oldest first, unless told; `DESC`",
    "at": "a time in ISO 8601, UTC where it names no zone, midnight where it is only a date: answers the state then",
    "version": "answers the state at this version",
}
MAX_PAGE_SIZE = 1000


async def get_history_or_state(asked: RequestContext) -> Response:
    """What happened to a thing and who did it; with `at` or `version` what it was like. Secrets never show."""
    given = dict(parse_qsl(asked.query.decode("latin-1"), keep_blank_values=True, encoding="utf-8"))
    answer = await asked.send(_build_query(asked.path_params, given), timeout=TIMEOUT_SECONDS)
    return Response(answer, media_type="application/json")


def _build_query(captured: Mapping[str, Any], given: Mapping[str, str]) -> StreamQuery:
    if "at" in given or "version" in given:
        at = {"at": parse_time(given["at"])} if "at" in given else {}
        version = {"version": given["version"]} if "version" in given else {}
        return _validate(GetState, {**captured, **at, **version})
    order = given.get("order_by", given.get("orderBy", "ASC")).upper()
    if order not in ("ASC", "DESC"):
        raise RequestRejected("REQUEST_MALFORMED", "order_by is ASC or DESC.")
    fields = {"limit": parse_page_size(given), "newest_first": order == "DESC", **captured}
    return _validate(GetHistory, fields | ({"after": given["after"]} if "after" in given else {}))


def parse_page_size(given: Mapping[str, str]) -> int:
    text = given.get("per_page", given.get("perPage", "100"))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise RequestRejected("REQUEST_MALFORMED", "per_page is a whole number.")
    return min(max(int(text), 1), MAX_PAGE_SIZE)


def parse_time(text: str) -> datetime:
    for one in (text, text.replace(" ", "+")):  # an unescaped plus arrives as a space
        try:
            at = datetime.fromisoformat(one)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise RequestRejected("REQUEST_MALFORMED", "at is a time in ISO 8601, like 2026-01-31T12:00:00Z, or a date.")


def _validate(message: type[StreamQuery], fields: Mapping[str, Any]) -> StreamQuery:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        if fault["loc"][0] in ("kind", "id"):
            raise RequestRejected("HISTORY_NOT_FOUND") from None
        raise RequestRejected("REQUEST_MALFORMED", f"{fault['loc'][0]}: {fault['msg']}.") from None
