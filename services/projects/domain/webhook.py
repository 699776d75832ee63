"""What a webhook's request says: whether the forge sent it, who pushed, and what."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from pydantic_core import from_json

from contracts.projects import Provider, Push
from libs.deciding import Refused

COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PUSH = {"github": "push", "gitlab": "Push Hook"}
FORM = "application/x-www-form-urlencoded"
LONGEST = 255  # characters of a name or a ref; longer ones are none


@dataclass(frozen=True, slots=True)
class Report:
    sender: str  # empty: the request names nobody
    push: Push | None  # nothing: another event


def document(content_type: str, body: bytes) -> bytes:
    """The JSON of the request, also from the form that GitHub can put around it."""
    kind = content_type.partition(";")[0].strip().lower()
    if kind == FORM:
        fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="strict", max_num_fields=10)
        return fields.get("payload", [""])[0].encode()
    if kind != "application/json":
        raise ValueError("its content type is neither application/json nor GitHub's form")
    return body


def read(provider: Provider, event: str, content: bytes) -> Report:
    """Of a document; of what is missing in it, or of another type, nothing is made up."""
    found = from_json(content.decode(), allow_inf_nan=False)  # the text goes to the build: all of it must be UTF-8
    if not isinstance(found, dict):
        raise ValueError("it is no JSON object")
    return Report(_sender(provider, found), _push(found) if event == PUSH[provider] else None)


def readable(provider: Provider, event: str, content_type: str, body: bytes) -> tuple[bytes, Report]:
    """The document and what it says. Raises Refused."""
    try:
        content = document(content_type, body)
        return content, read(provider, event, content)
    except ValueError as error:  # also of UTF-8 and of the form
        words = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise Refused("WEBHOOK_PAYLOAD_INVALID", f"The request cannot be read: {words}.") from None


def _sender(provider: Provider, found: Mapping[str, Any]) -> str:
    if provider == "github":
        return _text(_object(found, "sender"), "login")
    # other events than pushes have it in an object of its own
    return _text(found, "user_username") or _text(found, "user_name") or _text(_object(found, "user"), "username")


def _push(found: Mapping[str, Any]) -> Push:
    after = _text(found, "after")
    gone = found.get("deleted") is True or (after != "" and not after.strip("0"))
    before = _text(found, "before")
    return Push(
        ref=_text(found, "ref"),
        sha=after if COMMIT.fullmatch(after) and not gone else "",
        deleted=gone,
        before=before if COMMIT.fullmatch(before) and before.strip("0") else "",
    )


def _object(found: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    inner = found.get(name)
    return inner if isinstance(inner, dict) else {}


def _text(found: Mapping[str, Any], name: str) -> str:
    value = found.get(name)
    return value if isinstance(value, str) and len(value) <= LONGEST else ""
