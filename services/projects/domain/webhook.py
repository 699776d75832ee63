"""Parsing of webhook requests from GitHub and GitLab: sender and push."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qs

from pydantic_core import from_json

from contracts.projects import Provider, Push
from libs.eventstore.decider import RequestRejected

COMMIT_SHA_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PUSH_EVENT_NAMES = {"github": "push", "gitlab": "Push Hook"}
SKIP_PATTERN = re.compile(r"\[(skip ci|ci skip)\]", re.IGNORECASE)  # the marks of GitHub and GitLab
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
MAX_TEXT_LENGTH = 255  # characters of a name or a ref; longer texts count as missing


@dataclass(frozen=True, slots=True)
class ParsedWebhook:
    sender: str  # username at the forge; empty: not in the request
    push: Push | None  # None: not a push event


def extract_json(content_type: str, body: bytes) -> bytes:
    """Return the JSON of the request, also from the form encoding that GitHub offers.

    Raise ValueError for another content type or an invalid form.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM_CONTENT_TYPE:
        fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="strict", max_num_fields=10)
        return fields.get("payload", [""])[0].encode()
    if media_type != "application/json":
        raise ValueError("the content type is neither application/json nor GitHub's form encoding")
    return body


def parse_content(provider: Provider, event: str, content: bytes) -> ParsedWebhook:
    """Parse the JSON document. Raise ValueError for invalid JSON.

    Fields that are missing or have an unexpected type are empty in the result.
    """
    # the build gets the whole text, so it must be valid UTF-8
    document = from_json(content.decode(), allow_inf_nan=False)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    push = _parse_push(document) if event == PUSH_EVENT_NAMES[provider] else None
    return ParsedWebhook(_sender_name(provider, document), push)


def parse_request(provider: Provider, event: str, content_type: str, body: bytes) -> tuple[bytes, ParsedWebhook]:
    """Return the JSON document and its parsed content. Raise RequestRejected if the request is not readable."""
    try:
        content = extract_json(content_type, body)
        return content, parse_content(provider, event, content)
    except ValueError as error:  # also raised for invalid UTF-8 and for an invalid form
        reason = "it is not UTF-8" if isinstance(error, UnicodeError) else error
        raise RequestRejected("WEBHOOK_PAYLOAD_INVALID", f"The request cannot be read: {reason}.") from None


def _sender_name(provider: Provider, document: Mapping[str, object]) -> str:
    if provider == "github":
        return _get_text(_get_object(document, "sender"), "login")
    # events other than pushes have an object `user`
    return (
        _get_text(document, "user_username")
        or _get_text(document, "user_name")
        or _get_text(_get_object(document, "user"), "username")
    )


def _parse_push(document: Mapping[str, object]) -> Push:
    after = _get_text(document, "after")
    is_deletion = document.get("deleted") is True or (after != "" and not after.strip("0"))
    before = _get_text(document, "before")
    return Push(
        ref=_get_text(document, "ref"),
        sha=after if COMMIT_SHA_PATTERN.fullmatch(after) and not is_deletion else "",
        deleted=is_deletion,
        before=before if COMMIT_SHA_PATTERN.fullmatch(before) and before.strip("0") else "",
        skip=SKIP_PATTERN.search(_head_message(document, after)) is not None,
    )


def _head_message(document: Mapping[str, object], after: str) -> str:
    """Return the message of the new commit: GitHub has it as `head_commit`, GitLab in the list of commits."""
    head = _get_object(document, "head_commit")
    commits = document.get("commits")
    if not head and isinstance(commits, list):
        head = next((commit for commit in commits if isinstance(commit, dict) and commit.get("id") == after), {})
    message = head.get("message")
    return message if isinstance(message, str) else ""


def _get_object(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _get_text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH else ""
