"""Registration and start of the local stack's agent, and the error messages of both."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from infra.local import ports
from tests.support.waiting import wait_until

REGISTERED = {"id": 1, "token": "glrt-canary", "token_expires_at": None}
RESPONSES = {
    "/api/auth/token": (200, {"access_token": "the-jwt", "token_type": "Bearer", "expires_in": 3600}),
    "/api/admin/runners/registration-info": (200, {"registrationToken": "registration-canary"}),
    "/api/v4/runners": (201, REGISTERED),
    "/api/v4/runners/verify": (200, REGISTERED),
    "/api/v4/jobs/request": (204, None),
}


class TableHandler(BaseHTTPRequestHandler):
    """Sends the response listed for the path in `server.responses`. Records the path and the Authorization header."""

    server: "FakeGateway"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.requests.append((self.path, self.headers.get("Authorization")))
        status, body = self.server.responses[self.path]
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode() if body else b"")

    do_GET = do_POST  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class FakeGateway(ThreadingHTTPServer):
    def __init__(self, changes: dict[str, tuple[int, Any]]) -> None:
        super().__init__(("127.0.0.1", 0), TableHandler)
        self.responses = RESPONSES | changes
        self.requests: list[tuple[str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


@contextmanager
def running_fake_gateway(**changes: tuple[int, Any]) -> Iterator[FakeGateway]:
    with FakeGateway({path.replace("__", "/"): answer for path, answer in changes.items()}) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def start_agent(command: str, url: str, config: Path, health_port: int = 0) -> subprocess.Popen[str]:
    return subprocess.Popen(
        (sys.executable, "-m", "infra", command),
        env=os.environ
        | {
            "HEADRACE_URL": url,
            "HEADRACE_AGENT_CONFIG": str(config),
            "HEADRACE_ADMIN_PASSWORD": "password-canary",
            "HEADRACE_HEALTH_PORT": str(health_port),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for_exit(process: subprocess.Popen[str]) -> tuple[int, str]:
    with process:
        output, _ = process.communicate(timeout=30)
    return process.returncode, output


@pytest.fixture
def config(tmp_path: Path) -> Path:
    with running_fake_gateway() as server:
        status, output = wait_for_exit(start_agent("register-local-agent", server.url, tmp_path / "config.json"))
    assert (status, output) == (0, "")
    return tmp_path / "config.json"


def test_the_local_agent_logs_in_registers_and_stores_only_its_own_token(tmp_path: Path) -> None:
    with running_fake_gateway() as server:
        wait_for_exit(start_agent("register-local-agent", server.url, tmp_path / "config.json"))
    assert server.requests[:2] == [
        ("/api/auth/token", None),
        ("/api/admin/runners/registration-info", "token the-jwt"),
    ]
    written = (tmp_path / "config.json").read_text()
    assert json.loads(written)["runners"][0]["token"] == "glrt-canary"
    assert "registration-canary" not in written


def test_the_local_agent_is_ready_after_verification_and_stops_on_sigterm(config: Path) -> None:
    port = ports.find_free_port()
    with running_fake_gateway() as server, start_agent("run-local-agent", server.url, config, port) as running:
        wait_until(lambda: ports.is_http_ok(port, "/readyz"))
        running.send_signal(signal.SIGTERM)
        assert running.wait(10) == 0
        assert "/api/v4/runners/verify" in [path for path, _ in server.requests]


def test_a_failed_administrator_login_is_one_error_line(tmp_path: Path) -> None:
    with running_fake_gateway(__api__auth__token=(401, {"message": "UNAUTHORIZED"})) as server:
        status, output = wait_for_exit(start_agent("register-local-agent", server.url, tmp_path / "config.json"))
    assert status == 1
    assert output.startswith("headrace: The local agent could not be registered, because the administrator's login")


def test_an_unexpected_response_is_reported_with_its_path(tmp_path: Path) -> None:
    with running_fake_gateway(__api__auth__token=(500, {"message": "INTERNAL_ERROR"})) as server:
        status, output = wait_for_exit(start_agent("register-local-agent", server.url, tmp_path / "config.json"))
    assert (status, "/api/auth/token returned 500" in output, output.count("\n")) == (1, True, 1)


def test_a_local_agent_unknown_to_the_server_says_how_to_register_again(config: Path) -> None:
    with running_fake_gateway(__api__v4__runners__verify=(403, {"message": "403 Forbidden"})) as server:
        status, output = wait_for_exit(start_agent("run-local-agent", server.url, config))
    assert (status, f"Delete {config} to register it again" in output) == (1, True)
