"""The requests that set the status of a commit at GitHub, GitLab, and Gitea or Forgejo. No I/O.

Sources: https://docs.github.com/rest/commits/statuses, https://docs.gitlab.com/api/commits/#commit-pipeline-status,
https://gitea.com/api/swagger (repoCreateStatus).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import quote, urlsplit

from contracts.builds import BuildStatus
from contracts.projects import Forge, ForgeKind
from services.notifications.attempts import DeliveryFailed
from services.notifications.outgoing.http_client import OutgoingPost, Response

API_PATHS = {ForgeKind.GITHUB: "/api/v3", ForgeKind.GITLAB: "/api/v4", ForgeKind.GITEA: "/api/v1"}
GITHUB_API_URL = "https://api.github.com"  # for github.com; GitHub Enterprise Server has its API below its own URL
# GitLab rejects a status that the commit already has. This happens when a request is repeated after a lost response.
REPEATED_STATUS = b"Cannot transition status"
SCP_LIKE_URL = re.compile(r"(?:[^@/:]+@)?(\[[^]]+\]|[^/:]+):(?!//)(.+)")
API_SUFFIX = re.compile(r"/api/v\d+$")


class CommitState(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELED = "canceled"


STATES = {
    BuildStatus.QUEUED: CommitState.PENDING,
    BuildStatus.PLANNED: CommitState.PENDING,
    BuildStatus.RUNNING: CommitState.RUNNING,
    BuildStatus.CANCELING: CommitState.RUNNING,
    BuildStatus.SUCCESS: CommitState.SUCCESS,
    BuildStatus.FAILED: CommitState.FAILURE,
    BuildStatus.KILLED: CommitState.CANCELED,
}
FORGE_STATES: Mapping[ForgeKind, Mapping[CommitState, str]] = {
    ForgeKind.GITHUB: {CommitState.RUNNING: "pending", CommitState.CANCELED: "error"},
    ForgeKind.GITLAB: {CommitState.FAILURE: "failed"},
    ForgeKind.GITEA: {CommitState.RUNNING: "pending", CommitState.CANCELED: "error"},
}
"""States that a forge knows under another name."""
DESCRIPTIONS = {
    CommitState.PENDING: "is queued",
    CommitState.RUNNING: "is running",
    CommitState.SUCCESS: "succeeded",
    CommitState.FAILURE: "failed",
    CommitState.CANCELED: "was canceled",
}


class NoForgeAddress(Exception):
    """The URL of the forge's API cannot be derived from the repository's URL. The message is one sentence for users."""


@dataclass(frozen=True)
class CommitStatus:
    """The state of a build, as shown at its commit."""

    build_id: int
    sha: str
    ref: str | None
    state: CommitState
    link: str


@dataclass(frozen=True)
class ForgeRequest:
    """An HTTP POST request. The headers contain the token."""

    url: str
    body: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)

    def to_post(self) -> OutgoingPost:
        return OutgoingPost(self.url, json.dumps(dict(self.body)).encode(), self.headers, "the forge")


def build_request(forge: Forge, token: str, status: CommitStatus) -> ForgeRequest:
    """Return the request that sets the status. Raises NoForgeAddress."""
    api_url, path = locate_repository(forge)
    sha = quote(status.sha, safe="")
    body = {
        "state": FORGE_STATES[forge.kind].get(status.state, status.state),
        "target_url": status.link,
        "description": f"Build {status.build_id} {DESCRIPTIONS[status.state]}",
    }
    label = f"headrace/{forge.alias}"
    if forge.kind is ForgeKind.GITLAB:
        ref = re.sub("^refs/(heads|tags)/", "", status.ref or "")
        body |= {"name": label, **({"ref": ref} if ref else {})}
        url = f"{api_url}/projects/{quote(path, safe='')}/statuses/{sha}"
        return ForgeRequest(url, body, {"PRIVATE-TOKEN": token})
    if path.count("/") != 1:
        raise NoForgeAddress("the repository's URL does not end with an owner and a repository")
    url = f"{api_url}/repos/{quote(path)}/statuses/{sha}"
    body["context"] = label
    if forge.kind is ForgeKind.GITEA:
        return ForgeRequest(url, body, {"Authorization": f"token {token}"})
    headers = {
        "Authorization": f"Bearer {token}",
        "Accept": "application/vnd.github+json",
        "X-GitHub-Api-Version": "2022-11-28",
    }
    return ForgeRequest(url, body, headers)


def locate_repository(forge: Forge) -> tuple[str, str]:
    """Return the URL of the API and the path of the repository at the forge. Raises NoForgeAddress."""
    server, path = split_repository(forge.repository)
    path = path.strip("/").removesuffix(".git")
    if forge.api_url:
        # a forge below a path of its server, as https://example.org/gitlab: clone URLs over HTTP contain the path
        prefix = API_SUFFIX.sub("", urlsplit(forge.api_url).path).strip("/")
        return forge.api_url, path.removeprefix(f"{prefix}/") if prefix else path
    if not server:
        raise NoForgeAddress("the repository's URL names no server; set the URL of the forge's API")
    if forge.kind is ForgeKind.GITHUB and urlsplit(server).hostname in ("github.com", "www.github.com"):
        return GITHUB_API_URL, path
    return server + API_PATHS[forge.kind], path


def split_repository(repository: str) -> tuple[str, str]:
    """Return the URL of the forge's web server, which can be empty, and the path of the repository."""
    parts = urlsplit(repository)
    if parts.scheme in ("http", "https"):
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}", parts.path
    if parts.scheme == "ssh":
        host = parts.hostname or ""
        return f"https://[{host}]" if ":" in host else f"https://{host}", parts.path
    if scp_like := SCP_LIKE_URL.fullmatch(repository):
        return f"https://{scp_like[1]}", scp_like[2]
    return "", repository


def raise_for_status(response: Response) -> None:
    """Raise DeliveryFailed for an error response, unless its reason is that the commit already has the status."""
    status = response.status
    if response.is_success or (status == 400 and REPEATED_STATUS in response.start):
        return
    match status:
        case 401 | 403:
            reason = "the forge refused the token"
        case 404:
            reason = "the forge has no such repository or commit, or hides it from the token"
        case _ if 300 <= status < 400:
            reason = "the forge redirects to another URL; set the URL of its API"
        case _:
            reason = "the forge refused the status"
    raise DeliveryFailed(f"{reason} ({status})", is_permanent=True, response_code=status)
