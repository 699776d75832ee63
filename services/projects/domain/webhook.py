"""What a webhook's request says: whether the forge sent it, who pushed, and what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import from_json

from contracts.projects import Provider, Push
from libs.eventstore.decider import RequestRejected

COMMIT_SHA_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PUSH_EVENT_NAMES = {"github": "push", "gitlab": "Push Hook"}
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
MAX_TEXT_LENGTH = 255  # characters of a name or a ref; longer ones are none


@dataclass(frozen=True, slots=True)
class ParsedWebhook:
    sender: str  # empty: the request names nobody
    push: Push | None  # nothing: another event


def extract_json(content_type: str, body: bytes) -> bytes:
    """The JSON of the request, also from the form that GitHub can put around it."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM_CONTENT_TYPE:
        fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="strict", max_num_fields=10)
        return fields.get("payload", [""])[0].encode()
    if kind != "application/json":
        raise ValueError("its content type is neither application/json nor GitHub's form")
    return body


def parse_content(provider: Provider, event: str, content: bytes) -> ParsedWebhook:
    """Of a document; of what is missing in it, or of another type, nothing is made up."""
    found = from_json(content.decode(), allow_inf_nan=False)  # the text goes to the build: all of it must be UTF-8
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return ParsedWebhook(
        _sender_name(provider, found), _parse_push(found) if event == PUSH_EVENT_NAMES[provider] else None
    )


def parse_request(provider: Provider, event: str, content_type: str, body: bytes) -> tuple[bytes, ParsedWebhook]:
    """The document and what it says. Raises Refused."""
    try:
        content = extract_json(content_type, body)
        return content, parse_content(provider, event, content)
    except ValueError as error:  # also of UTF-8 and of the form
        words = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise RequestRejected("WEBHOOK_PAYLOAD_INVALID", f"The request cannot be read: {words}.") from None


def _sender_name(provider: Provider, document: Mapping[str, Any]) -> str:
    if provider == "github":
        return _get_text(_get_object(document, "sender"), "login")
    # other events than pushes have it in an object of its own
    return (
        _get_text(document, "user_username")
        or _get_text(document, "user_name")
        or _get_text(_get_object(document, "user"), "username")
    )


def _parse_push(document: Mapping[str, Any]) -> Push:
    after = _get_text(document, "after")
    gone = document.get("deleted") is True or (after != "" and not after.strip("0"))
    before = _get_text(document, "before")
    return Push(
        ref=_get_text(document, "ref"),
        sha=after if COMMIT_SHA_PATTERN.fullmatch(after) and not gone else "",
        deleted=gone,
        before=before if COMMIT_SHA_PATTERN.fullmatch(before) and before.strip("0") else "",
    )


def _get_object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = document.get(name)
    return inner if isinstance(inner, dict) else {}


def _get_text(document: Mapping[str, Any], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH else ""
