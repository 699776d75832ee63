"""Parsing of webhook requests from GitHub, Gitea and GitLab: sender, push, and pull or merge request."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from pydantic_core import from_json

from contracts.projects import Provider, PullRequest, Push
from libs.branch_names import TAG_REF_PREFIX
from libs.eventstore.decider import RequestRejected

COMMIT_SHA_PATTERN = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
PUSH_EVENT_NAMES = {"github": ("push",), "gitlab": ("Push Hook", "Tag Push Hook")}
PULL_REQUEST_EVENT_NAMES = {"github": ("pull_request", "pull_request_sync"), "gitlab": ("Merge Request Hook",)}
NEW_COMMIT_ACTIONS = ("opened", "reopened", "synchronize", "synchronized")  # names of GitHub; `synchronized`: Gitea
MAX_NUMBER = 2**31 - 1  # largest valid number of a pull request
SKIP_PATTERN = re.compile(r"\[(skip ci|ci skip)\]", re.IGNORECASE)  # the marks of GitHub and GitLab
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"
MAX_TEXT_LENGTH = 255  # characters of a name, ref or title; a longer name or ref counts as missing, a title is cut


@dataclass(frozen=True, slots=True)
class ParsedWebhook:
    sender: str  # username at the forge; empty: not in the request
    push: Push | None  # None: not a push event
    change: "PullRequestChange | None" = None  # None: not an event of a pull request


@dataclass(frozen=True, slots=True)
class PullRequestChange:
    """An event of a pull or merge request. Missing or invalid fields are empty or 0."""

    pull_request: PullRequest
    ref: str  # ref of the head in the project's repository
    sha: str  # commit of the head
    repository: str  # path of the repository at the forge, like octo/mill
    has_new_commits: bool  # opened, reopened, or changed by a push
    skip: bool = False  # the message of the commit contains [skip ci] or [ci skip]; only GitLab sends it


def extract_json(content_type: str, body: bytes) -> bytes:
    """Return the JSON of the request, also from the form encoding that GitHub offers.

    Raises ValueError for another content type or an invalid form.
    """
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type == FORM_CONTENT_TYPE:
        fields = parse_qs(body.decode("latin-1"), encoding="utf-8", errors="strict", max_num_fields=10)
        return fields.get("payload", [""])[0].encode()
    if media_type != "application/json":
        raise ValueError("the content type is neither application/json nor GitHub's form encoding")
    return body


def parse_content(provider: Provider, event: str, content: bytes) -> ParsedWebhook:
    """Parse the JSON document. Raises ValueError unless it is a JSON object in UTF-8.

    Fields that are missing or have an unexpected type are empty in the result.
    """
    # the build gets the whole text, so it must be valid UTF-8
    document = from_json(content.decode(), allow_inf_nan=False)
    if not isinstance(document, dict):
        raise ValueError("it is not a JSON object")
    push = _parse_push(document) if event in PUSH_EVENT_NAMES[provider] else None
    change = None
    if event in PULL_REQUEST_EVENT_NAMES[provider]:
        change = _parse_pull_request(document) if provider == "github" else _parse_merge_request(document)
    return ParsedWebhook(_sender_name(provider, document), push, change)


def parse_request(provider: Provider, event: str, content_type: str, body: bytes) -> tuple[bytes, ParsedWebhook]:
    """Return the JSON document and its parsed content. Raises RequestRejected if the request is not readable."""
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
    ref = _get_text(document, "ref")
    sha = _tagged_commit(document) or after if ref.startswith(TAG_REF_PREFIX) else after
    return Push(
        ref=ref,
        sha=sha if COMMIT_SHA_PATTERN.fullmatch(sha) and not is_deletion else "",
        deleted=is_deletion,
        before=before if COMMIT_SHA_PATTERN.fullmatch(before) and before.strip("0") else "",
        skip=SKIP_PATTERN.search(_head_message(document, sha)) is not None or _has_skip_option(document),
    )


def _parse_pull_request(document: Mapping[str, object]) -> PullRequestChange:
    """Parse an event of GitHub, Gitea or Forgejo."""
    request, repository = _get_object(document, "pull_request"), _get_object(document, "repository")
    head, base = _get_object(request, "head"), _get_object(request, "base")
    owners = (_get_object(head, "repo").get("id"), _get_object(base, "repo").get("id"), repository.get("id"))
    number = _get_number(request, "number")
    return PullRequestChange(
        PullRequest(
            number=number,
            title=_get_title(request),
            source_branch=_get_text(head, "ref"),
            target_branch=_get_text(base, "ref"),
            is_fork=not _is_same_repository(owners),
        ),
        ref=f"refs/pull/{number}/head",
        sha=_get_sha(head, "sha"),
        repository=_get_text(repository, "full_name"),
        has_new_commits=_get_text(document, "action") in NEW_COMMIT_ACTIONS,
    )


def _parse_merge_request(document: Mapping[str, object]) -> PullRequestChange:
    """Parse an event of GitLab. It has `oldrev` if an update has new commits."""
    request, project = _get_object(document, "object_attributes"), _get_object(document, "project")
    commit = _get_object(request, "last_commit")
    owners = (request.get("source_project_id"), request.get("target_project_id"), project.get("id"))
    number, action, message = _get_number(request, "iid"), _get_text(request, "action"), commit.get("message")
    return PullRequestChange(
        PullRequest(
            number=number,
            title=_get_title(request),
            source_branch=_get_text(request, "source_branch"),
            target_branch=_get_text(request, "target_branch"),
            is_fork=not _is_same_repository(owners),
        ),
        ref=f"refs/merge-requests/{number}/head",
        sha=_get_sha(commit, "id"),
        repository=_get_text(project, "path_with_namespace"),
        has_new_commits=action in ("open", "reopen") or (action == "update" and _get_text(request, "oldrev") != ""),
        skip=isinstance(message, str) and SKIP_PATTERN.search(message) is not None,
    )


def _is_same_repository(ids: Sequence[object]) -> bool:
    """Return whether the ids of source, target and receiving repository are equal. A deleted fork has no id."""
    return all(type(id_) is int and id_ == ids[0] for id_ in ids)


def _tagged_commit(document: Mapping[str, object]) -> str:
    """Return the commit of a tag. `after` is the hash of the tag itself if it is annotated."""
    return _get_text(document, "checkout_sha") or _get_text(_get_object(document, "head_commit"), "id")


def _has_skip_option(document: Mapping[str, object]) -> bool:
    """Return whether the push had GitLab's option: `git push --push-option=ci.skip`."""
    return _get_object(_get_object(document, "push_options"), "ci").get("skip") is True


def _head_message(document: Mapping[str, object], sha: str) -> str:
    """Return the message of the new commit: GitHub has it as `head_commit`, GitLab in the list of commits."""
    head = _get_object(document, "head_commit")
    commits = document.get("commits")
    if not head and isinstance(commits, list):
        head = next((commit for commit in commits if isinstance(commit, dict) and commit.get("id") == sha), {})
    message = head.get("message")
    return message if isinstance(message, str) else ""


def _get_object(document: Mapping[str, object], name: str) -> Mapping[str, object]:
    value = document.get(name)
    return value if isinstance(value, dict) else {}


def _get_text(document: Mapping[str, object], name: str) -> str:
    value = document.get(name)
    return value if isinstance(value, str) and len(value) <= MAX_TEXT_LENGTH else ""


def _get_sha(document: Mapping[str, object], name: str) -> str:
    sha = _get_text(document, name)
    return sha if COMMIT_SHA_PATTERN.fullmatch(sha) and sha.strip("0") else ""


def _get_number(document: Mapping[str, object], name: str) -> int:
    value = document.get(name)
    return value if type(value) is int and 0 < value <= MAX_NUMBER else 0


def _get_title(document: Mapping[str, object]) -> str:
    """Return the title in one line of printable characters, shortened."""
    value = document.get("title")
    text = value if isinstance(value, str) else ""
    return "".join(character if character.isprintable() else " " for character in text[:MAX_TEXT_LENGTH])
