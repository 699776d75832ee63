"""Signatures and content of webhook requests."""

import hashlib
import hmac
import json
from typing import Any
from urllib.parse import urlencode

import pytest

from contracts.errors import RequestRejected
from contracts.projects import Provider, Push
from libs.security.webhook_signatures import is_signature_valid
from services.projects.domain.webhook import ParsedWebhook, parse_request

KEY = "0123456789abcdef0123456789abcdef"
SHA = "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"
GONE = "0" * 40
BODY = b'{"zen": "It\'s not fully shipped until it\'s fast."}'
JSON = "application/json"
FORM = "application/x-www-form-urlencoded"


def sign(key: str, body: bytes) -> str:
    return f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"


def parse_report(provider: Provider, event: str, **members: Any) -> ParsedWebhook:
    return parse_request(provider, event, JSON, json.dumps(members).encode())[1]


def test_the_signature_example_of_github_is_valid() -> None:
    signature = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"
    assert is_signature_valid("github", "It's a Secret to Everybody", signature, b"Hello, World!")


@pytest.mark.parametrize(
    "proof",
    [
        "",
        "sha256=",
        KEY,
        sign(KEY, BODY).upper(),
        sign(KEY, BODY).removeprefix("sha256="),
        sign(KEY, BODY + b"\n"),
        sign("another key", BODY),
        sign("", BODY),
        sign(KEY, BODY)[:-1],
        "sha1=" + hmac.new(KEY.encode(), BODY, hashlib.sha1).hexdigest(),
        "sha256=é\x00",
    ],
)
def test_an_altered_github_signature_is_invalid(proof: str) -> None:
    assert is_signature_valid("github", KEY, sign(KEY, BODY), BODY)
    assert not is_signature_valid("github", KEY, proof, BODY)


@pytest.mark.parametrize("proof", ["", KEY[:-1], KEY + " ", KEY.upper(), sign(KEY, BODY), "é"])
def test_a_gitlab_token_must_equal_the_key(proof: str) -> None:
    assert is_signature_valid("gitlab", KEY, KEY, BODY)
    assert not is_signature_valid("gitlab", KEY, proof, BODY)


def test_a_push_contains_its_ref_and_the_new_commit() -> None:
    report = parse_report("github", "push", ref="refs/heads/main", before=GONE, after=SHA, sender={"login": "Ada"})
    assert report == ParsedWebhook("Ada", Push(ref="refs/heads/main", sha=SHA, deleted=False))


def test_a_sha256_commit_id_is_accepted() -> None:
    after = hashlib.sha256(b"commit").hexdigest()
    assert parse_report("github", "push", ref="r", after=after).push == Push(ref="r", sha=after, deleted=False)


@pytest.mark.parametrize("members", [{"after": GONE}, {"after": "0" * 64}, {"after": SHA, "deleted": True}])
def test_a_push_that_deletes_a_branch_has_no_commit(members: dict[str, Any]) -> None:
    assert parse_report("gitlab", "Push Hook", ref="r", **members).push == Push(ref="r", sha="", deleted=True)


@pytest.mark.parametrize("after", [None, 7, "", "main", SHA[:-1], SHA.upper(), f"{SHA}\n", "--upload-pack=touch x"])
def test_an_invalid_commit_id_is_dropped(after: object) -> None:
    assert parse_report("github", "push", ref="r", after=after).push == Push(ref="r", sha="", deleted=False)


@pytest.mark.parametrize(
    ("provider", "event"), [("github", "ping"), ("github", "Push Hook"), ("gitlab", "Issue Hook"), ("gitlab", "")]
)
def test_other_events_are_not_read_as_a_push(provider: Provider, event: str) -> None:
    assert parse_report(provider, event, ref="refs/heads/main", after=SHA).push is None


@pytest.mark.parametrize(
    ("members", "sender"),
    [
        ({"user_username": "ada", "user_name": "Ada Lovelace"}, "ada"),
        ({"user_name": "Ada Lovelace"}, "Ada Lovelace"),
        ({"user_username": "", "user_name": "ada"}, "ada"),
        ({"user": {"username": "ada"}}, "ada"),
        ({"sender": {"login": "ada"}}, ""),
        ({}, ""),
    ],
)
def test_the_sender_of_a_gitlab_webhook_is_read(members: dict[str, Any], sender: str) -> None:
    assert parse_report("gitlab", "Push Hook", **members).sender == sender


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"sender": None},
        {"sender": "ada"},
        {"sender": {}},
        {"sender": {"login": None}},
        {"sender": {"login": ["ada"]}},
        {"sender": {"login": "a" * 256}},
        {"user_username": "ada"},
    ],
)
def test_a_github_webhook_without_a_valid_sender_has_an_empty_sender(members: dict[str, Any]) -> None:
    assert parse_report("github", "push", **members).sender == ""


def test_a_form_encoded_webhook_payload_is_decoded() -> None:
    text = json.dumps({"ref": "refs/heads/ä+&=%20", "after": SHA}, ensure_ascii=False)
    content, report = parse_request("github", "push", f"{FORM}; charset=utf-8", urlencode({"payload": text}).encode())
    assert content == text.encode()
    assert report.push == Push(ref="refs/heads/ä+&=%20", sha=SHA, deleted=False)


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (JSON, b""),
        (JSON, b"{"),
        (JSON, b"[]"),
        (JSON, b"null"),
        (JSON, b'"push"'),
        (JSON, b'{"after": NaN}'),
        (JSON, b'{"ref": "\xff"}'),
        (JSON, b"\xef\xbb\xbf{}"),
        (JSON, b"[" * 100_000),
        (JSON, b'{"ref": "\\ud800"}'),
        ("", b"{}"),
        ("text/plain", b"{}"),
        (FORM, b"{}"),
        (FORM, b"payload="),
        (FORM, b"payload=%ff"),
        (FORM, b"payload=%7B"),
        (FORM, b"&".join([b"payload=%7B%7D"] * 100)),
    ],
)
def test_an_unreadable_webhook_payload_is_rejected(content_type: str, body: bytes) -> None:
    with pytest.raises(RequestRejected) as refused:
        parse_request("github", "push", content_type, body)
    assert refused.value.code == "WEBHOOK_PAYLOAD_INVALID"


@pytest.mark.parametrize(
    ("before", "known"),
    [(SHA, SHA), ("0" * 40, ""), ("--upload-pack=x", ""), ("", "")],
    ids=str,
)
def test_the_previous_commit_of_a_push_is_read_if_valid(before: str, known: str) -> None:
    push = parse_report("github", "push", ref="r", after=SHA, before=before).push
    assert push is not None
    assert push.before == known


@pytest.mark.parametrize(
    ("message", "skip"),
    [("Fix a typo\n\n[skip ci]", True), ("[CI skip] notes", True), ("skip ci", False), (None, False)],
)
def test_a_push_is_skipped_if_the_message_of_its_commit_says_so(message: str | None, skip: bool) -> None:
    head = {"id": SHA, "message": message}
    earlier = {"id": GONE, "message": "[skip ci]"}
    github = parse_report("github", "push", after=SHA, head_commit=head, commits=[earlier, head])
    gitlab = parse_report("gitlab", "Push Hook", after=SHA, commits=[earlier, head, 5])
    assert [parsed.push and parsed.push.skip for parsed in (github, gitlab)] == [skip, skip]


@pytest.mark.parametrize(
    ("options", "skip"),
    [
        ({"ci": {"skip": True}}, True),
        ({"ci": {"skip": "true"}}, False),
        ({"ci": []}, False),
        ({}, False),
        (None, False),
    ],
)
def test_a_push_is_skipped_if_it_has_the_push_option_of_gitlab(options: object, skip: bool) -> None:
    push = parse_report("gitlab", "Push Hook", after=SHA, push_options=options).push
    assert push is not None
    assert push.skip is skip


def test_the_commit_of_an_annotated_tag_is_read_instead_of_the_tag_itself() -> None:
    tag, own = "refs/tags/v1", "2" * 40
    github = parse_report("github", "push", ref=tag, after=own, head_commit={"id": SHA})
    gitlab = parse_report("gitlab", "Tag Push Hook", ref=tag, after=own, checkout_sha=SHA, commits=[{"id": SHA}])
    assert github.push == gitlab.push == Push(ref=tag, sha=SHA, deleted=False)
    assert parse_report("github", "push", ref=tag, after=own).push == Push(ref=tag, sha=own, deleted=False)
    branch = parse_report("github", "push", ref="refs/heads/v1", after=own, head_commit={"id": SHA}).push
    assert branch == Push(ref="refs/heads/v1", sha=own, deleted=False)


def test_a_deleted_tag_has_no_commit() -> None:
    deleted = parse_report("gitlab", "Tag Push Hook", ref="refs/tags/v1", after=GONE, checkout_sha=None).push
    assert deleted == Push(ref="refs/tags/v1", sha="", deleted=True)
