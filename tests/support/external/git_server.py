"""A git server over HTTP with basic authentication."""

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from infra.demo.git_server import GitRequestHandler
from infra.demo.git_server import GitServer as DemoGitServer


class AuthenticatingGitHandler(GitRequestHandler):
    def do_GET(self) -> None:  # noqa: N802
        expected = base64.b64encode(self.server.login.encode()).decode()
        if self.headers.get("Authorization") == f"Basic {expected}":
            super().do_GET()
            return
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="git"')
        self.end_headers()

    do_POST = do_GET  # noqa: N815


class GitServer(DemoGitServer):
    def __init__(self, root: Path, login: str) -> None:
        super().__init__(root, handler=AuthenticatingGitHandler)
        self.login = login

    def url(self, repository: str, login: str | None = None) -> str:
        return f"http://{self.login if login is None else login}@127.0.0.1:{self.server_port}/{repository}/.git"


@contextmanager
def git_server(root: Path, login: str = "ada:secret-of-ada") -> Iterator[GitServer]:
    server = GitServer(root, login)
    with server.run_in_thread():
        yield server
