"""A git server over HTTP that asks for a user name and a password: git's own backend behind a small front."""

import base64
import gzip
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.repositories import NOBODY


class Front(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        expected = base64.b64encode(self.server.login.encode()).decode()
        if self.headers.get("Authorization") != f"Basic {expected}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        head, _, content = self._backend(body).partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def _backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        variables = NOBODY | {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.1",
        }
        return subprocess.run(
            ["git", "http-backend"], input=body, env=variables, capture_output=True, check=True
        ).stdout

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class GitServer(ThreadingHTTPServer):
    def __init__(self, root: Path, login: str) -> None:
        super().__init__(("127.0.0.1", 0), Front)
        self.root = root
        self.login = login

    def url(self, repository: str, login: str | None = None) -> str:
        return f"http://{self.login if login is None else login}@127.0.0.1:{self.server_port}/{repository}/.git"


@contextmanager
def git_server(root: Path, login: str = "ada:secret-of-ada") -> Iterator[GitServer]:
    """Serves every repository below the folder, while the block runs."""
    with GitServer(root, login) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
