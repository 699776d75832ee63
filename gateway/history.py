"""`GET /api/admin/history/<kind>/<id>`: what happened to a thing, or what it was like at a moment."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl

from pydantic import ValidationError
from starlette.responses import Response

from contracts.errors import Refused
from contracts.history import AboutOne, GetHistory, GetState, History, State
from gateway.asked import Asked
from gateway.writing import as_it_is

PATIENCE = 10.0  # seconds: a long log is folded for it
ANSWER = as_it_is(History | State)
PARAMETERS = {
    "after": "go on behind this version, in the order asked for: the `next` of the answer before",
    "per_page": "entries at once, at most 1000, 100 unless told; fewer come where they would be too large",
    "order_by": "`ASC`, oldest first, unless told; `DESC`",
    "at": "a time in ISO 8601, UTC where it names no zone, midnight where it is only a date: answers the state then",
    "version": "answers the state at this version",
}
LARGEST_PAGE = 1000


async def history_or_state(asked: Asked) -> Response:
    """What happened to a thing and who did it; with `at` or `version` what it was like. Secrets never show."""
    given = dict(parse_qsl(asked.query.decode("latin-1"), keep_blank_values=True, encoding="utf-8"))
    answer = await asked.send(_query(asked.captured, given), timeout=PATIENCE)
    return Response(answer, media_type="application/json")


def _query(captured: Mapping[str, Any], given: Mapping[str, str]) -> AboutOne:
    if "at" in given or "version" in given:
        at = {"at": moment(given["at"])} if "at" in given else {}
        version = {"version": given["version"]} if "version" in given else {}
        return _valid(GetState, {**captured, **at, **version})
    order = given.get("order_by", given.get("orderBy", "ASC")).upper()
    if order not in ("ASC", "DESC"):
        raise Refused("REQUEST_MALFORMED", "order_by is ASC or DESC.")
    fields = {"limit": limit(given), "newest_first": order == "DESC", **captured}
    return _valid(GetHistory, fields | ({"after": given["after"]} if "after" in given else {}))


def limit(given: Mapping[str, str]) -> int:
    text = given.get("per_page", given.get("perPage", "100"))
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused("REQUEST_MALFORMED", "per_page is a whole number.")
    return min(max(int(text), 1), LARGEST_PAGE)


def moment(text: str) -> datetime:
    for one in (text, text.replace(" ", "+")):  # an unescaped plus arrives as a space
        try:
            at = datetime.fromisoformat(one)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
        except (ValueError, OverflowError):
            continue
    raise Refused("REQUEST_MALFORMED", "at is a time in ISO 8601, like 2026-01-31T12:00:00Z, or a date.")


def _valid(message: type[AboutOne], fields: Mapping[str, Any]) -> AboutOne:
    try:
        return message.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
        if fault["loc"][0] in ("kind", "id"):
            raise Refused("HISTORY_NOT_FOUND") from None
        raise Refused("REQUEST_MALFORMED", f"{fault['loc'][0]}: {fault['msg']}.") from None
