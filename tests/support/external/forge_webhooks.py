"""Webhook requests of GitHub, Gitea and GitLab: bodies, and headers with signature or token."""

import hashlib
import hmac
import json
from typing import Any
from uuid import uuid4

NULL_COMMIT = "0" * 40  # sent by forges as the commit before the creation and after the deletion of a branch
JSON_TYPE = "application/json"


def github_push_body(after: str, ref: str = "refs/heads/main", login: str = "Octo-Ada", **more: Any) -> bytes:
    """Return the body of a GitHub push webhook. `more`: members to replace or add."""
    name = ref.removeprefix("refs/heads/")
    commit = {
        "id": after,
        "tree_id": "f9d2a07e9488b91af2641b26b9407fe22a451433",
        "distinct": True,
        "message": 'Say "hällo", not $(hello) or `hello`',
        "timestamp": "2026-11-22T10:15:30+01:00",
        "url": f"https://forge.example/octo/mill/commit/{after}",
        "author": {"name": "Ada", "email": "ada@example.org", "username": login},
        "committer": {"name": "Ada", "email": "ada@example.org", "username": login},
        "added": ["ci/build.sh"],
        "removed": [],
        "modified": ["README.md"],
    }
    push = {
        "ref": ref,
        "before": NULL_COMMIT,
        "after": after,
        "repository": {
            "id": 186853002,
            "name": "mill",
            "full_name": "octo/mill",
            "private": False,
            "owner": {"name": "octo", "login": "octo", "id": 21031067, "type": "Organization"},
            "html_url": "https://forge.example/octo/mill",
            "clone_url": "https://forge.example/octo/mill.git",
            "default_branch": "main",
        },
        "pusher": {"name": login, "email": "ada@example.org"},
        "sender": {"login": login, "id": 21031068, "type": "User", "site_admin": False},
        "created": False,
        "deleted": False,
        "forced": False,
        "base_ref": None,
        "compare": f"https://forge.example/octo/mill/compare/{name}",
        "commits": [commit],
        "head_commit": commit,
    }
    return json.dumps(push | more, ensure_ascii=False, separators=(",", ":")).encode()


def gitlab_push_body(after: str, ref: str = "refs/heads/main", username: str = "tanuki-ada", **more: Any) -> bytes:
    """Return the body of a GitLab push webhook. `more`: members to replace or add."""
    commit = {
        "id": after,
        "message": "Turn the wheel\n\nfaster",
        "title": "Turn the wheel",
        "timestamp": "2026-11-22T10:15:30+01:00",
        "url": f"https://forge.example/octo/mill/-/commit/{after}",
        "author": {"name": "Ada Lovelace", "email": "[REDACTED]"},
        "added": [],
        "modified": ["README.md"],
        "removed": [],
    }
    push = {
        "object_kind": "push",
        "event_name": "push",
        "before": NULL_COMMIT,
        "after": after,
        "ref": ref,
        "ref_protected": True,
        "checkout_sha": after,
        "message": None,
        "user_id": 4,
        "user_name": "Ada Lovelace",
        "user_username": username,
        "user_email": "",
        "user_avatar": None,
        "project_id": 15,
        "project": {
            "id": 15,
            "name": "Mill",
            "namespace": "octo",
            "path_with_namespace": "octo/mill",
            "git_http_url": "https://forge.example/octo/mill.git",
            "default_branch": "main",
            "visibility_level": 0,
        },
        "commits": [commit],
        "total_commits_count": 1,
        "push_options": {},
        "repository": {"name": "Mill", "url": "git@forge.example:octo/mill.git", "visibility_level": 0},
    }
    return json.dumps(push | more).encode()


def github_pull_request_body(
    sha: str, action: str = "opened", number: int = 1, login: str = "Octo-Ada", *, fork: bool = False, **more: Any
) -> bytes:
    """Return the body of a pull request with the members that GitHub and Gitea share. `more`: members to replace."""
    base = {
        "id": 186853002,
        "name": "mill",
        "full_name": "octo/mill",
        "clone_url": "https://forge.example/octo/mill.git",
    }
    other = {"id": 99, "name": "mill", "full_name": "eve/mill", "clone_url": "https://forge.example/eve/mill.git"}
    source = other if fork else base
    request = {
        "id": 191568743,
        "number": number,
        "state": "open",
        "title": "Turn the wheel faster",
        "user": {"login": login, "id": 21031067},
        "body": "This is a pretty simple change.",
        "head": {"label": "octo:faster", "ref": "faster", "sha": sha, "repo": source},
        "base": {"label": "octo:main", "ref": "main", "sha": "f" * 40, "repo": base},
        "merged": False,
    }
    event = {
        "action": action,
        "number": number,
        "pull_request": request,
        "repository": base,
        "sender": {"login": login, "id": 21031067},
    }
    return json.dumps(event | more).encode()


def gitlab_merge_request_body(sha: str, action: str = "open", *, fork: bool = False, **attributes: Any) -> bytes:
    """Return the body of a merge request webhook. `attributes`: members of `object_attributes` to replace or add."""
    project = {
        "id": 15,
        "name": "Mill",
        "path_with_namespace": "octo/mill",
        "git_http_url": "https://forge.example/octo/mill.git",
    }
    request = {
        "id": 99,
        "iid": 1,
        "target_branch": "main",
        "source_branch": "faster",
        "source_project_id": 16 if fork else 15,
        "target_project_id": 15,
        "title": "Turn the wheel faster",
        "state": "opened",
        "action": action,
        "last_commit": {"id": sha, "message": "Turn the wheel\n\nfaster", "title": "Turn the wheel"},
        "url": "https://forge.example/octo/mill/-/merge_requests/1",
    }
    event = {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": {"id": 4, "name": "Ada Lovelace", "username": "tanuki-ada"},
        "project": project,
        "object_attributes": request | attributes,
        "changes": {},
    }
    return json.dumps(event).encode()


def sign(key: str, body: bytes) -> str:
    return f"sha256={hmac.new(key.encode(), body, hashlib.sha256).hexdigest()}"


def github_headers(key: str, body: bytes, event: str = "push", delivery: str = "") -> dict[str, str]:
    return {
        "Content-Type": JSON_TYPE,
        "User-Agent": "GitHub-Hookshot/044aadd",
        "X-GitHub-Event": event,
        "X-GitHub-Delivery": delivery or str(uuid4()),
        "X-GitHub-Hook-ID": "292430182",
        "X-Hub-Signature-256": sign(key, body),
    }


def gitlab_headers(token: str, event: str = "Push Hook", **more: str) -> dict[str, str]:
    return {
        "Content-Type": JSON_TYPE,
        "User-Agent": "GitLab/17.5.0",
        "X-Gitlab-Event": event,
        "X-Gitlab-Event-UUID": str(uuid4()),
        "X-Gitlab-Token": token,
    } | more
