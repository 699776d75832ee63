"""Read-only git repositories over HTTP, served by `git http-backend` behind the standard library's HTTP server."""

import gzip
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from infra.local.process import OperatorError

GIT_SETTINGS = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}


class GitRequestHandler(BaseHTTPRequestHandler):
    server: Any

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        head, _, content = self._run_backend(body).partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815

    def _run_backend(self, body: bytes) -> bytes:
        path, _, query = self.path.partition("?")
        variables = GIT_SETTINGS | {
            "PATH": os.environ["PATH"],
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": self.client_address[0],
        }
        command = ["git", "http-backend"]
        return subprocess.run(command, input=body, env=variables, capture_output=True, check=True).stdout

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class GitServer(ThreadingHTTPServer):
    def __init__(
        self, root: Path, host: str = "127.0.0.1", handler: type[GitRequestHandler] = GitRequestHandler
    ) -> None:
        super().__init__((host, 0), handler)
        self.root = root

    @contextmanager
    def run_in_thread(self) -> Iterator[None]:
        with self:
            thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02})
            thread.start()
            try:
                yield
            finally:
                self.shutdown()
                thread.join()


def local_address_for(url: str) -> str:
    """Return the IP address at which the server at `url` can reach this machine."""
    parts = urlsplit(url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((str(parts.hostname), port), timeout=10) as connection:
            return str(connection.getsockname()[0])
    except OSError as error:
        raise OperatorError(f"{url} does not respond ({error}). Check HEADRACE_URL.") from error
