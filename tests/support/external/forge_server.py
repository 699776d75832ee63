"""A forge on a loopback port: the APIs of commit statuses as GitHub, GitLab and Gitea document them."""

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests.support.infrastructure.http_thread import QuietHandler, serve_in_thread

TOKEN = "canary-token"
API_PATHS = {"github": "/api/v3", "gitlab": "/api/v4", "gitea": "/api/v1"}
LOGINS = {
    "github": ("Authorization", f"Bearer {TOKEN}"),
    "gitlab": ("PRIVATE-TOKEN", TOKEN),
    "gitea": ("Authorization", f"token {TOKEN}"),
}
STATES = {
    "github": {"error", "failure", "pending", "success"},
    "gitlab": {"pending", "running", "success", "failed", "canceled", "skipped"},
    "gitea": {"pending", "success", "error", "failure", "warning"},
}
PATHS = {
    "github": re.compile(r"/api/v3/repos/acme/shop/statuses/([0-9a-f]{40})"),
    "gitlab": re.compile(r"/api/v4/projects/acme%2Fshop/statuses/([0-9a-f]{40})"),
    "gitea": re.compile(r"/api/v1/repos/acme/shop/statuses/([0-9a-f]{40})"),
}
MAX_DESCRIPTION_LENGTH = 140


@dataclass
class ForgeServer:
    kind: str
    url: str = ""
    statuses: list[Mapping[str, Any]] = field(default_factory=list)  # accepted bodies, with the commit as `sha`
    failures: list[int] = field(default_factory=list)  # HTTP status codes of the next responses
    request_count: int = 0

    @property
    def api_url(self) -> str:
        return self.url + API_PATHS[self.kind]

    @property
    def states(self) -> list[str]:
        return [status["state"] for status in self.statuses]

    def answer(self, path: str, headers: Mapping[str, str], body: Mapping[str, Any]) -> tuple[int, str]:
        self.request_count += 1
        if self.failures:
            return self.failures.pop(0), "canary-answer"
        name, login = LOGINS[self.kind]
        if headers.get(name) != login:
            return 401, "Bad credentials"
        if not (found := PATHS[self.kind].fullmatch(path)):
            return 404, "Not Found"
        label = body.get("name" if self.kind == "gitlab" else "context")
        if body["state"] not in STATES[self.kind] or not label or len(body["description"]) > MAX_DESCRIPTION_LENGTH:
            return 422, "Validation Failed"
        if self.kind == "gitlab" and self.states[-1:] == [body["state"]]:
            return 400, f"Cannot transition status via :run from :{body['state']}"
        self.statuses.append({**body, "sha": found[1]})
        return 201, ""


@contextmanager
def forge_server(kind: str) -> Iterator[ForgeServer]:
    forge = ForgeServer(kind)

    class Handler(QuietHandler):
        def do_POST(self) -> None:  # noqa: N802
            body = self.rfile.read(int(self.headers["content-length"]))
            status, message = forge.answer(self.path, dict(self.headers), json.loads(body))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps({"message": message}).encode())

    with serve_in_thread(Handler) as forge.url:
        yield forge
