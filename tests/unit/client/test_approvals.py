"""The commands for builds of forks that wait for an approval."""

from urllib.parse import unquote

import httpx
import pytest
from typer.testing import CliRunner

from client.http_client import Client
from infra.cli import app

DELIVERY_ID = "5f0d7a9e-2f0f-5c39-9d0a-0a4c3b1f7e55"
DELIVERY = {
    "id": DELIVERY_ID,
    "received_at": "2026-11-30T12:00:00Z",
    "sender": "stranger",
    "sha": "4f2c8d1e0b7a69538f4e2d1c0b9a88776655443f",
    "reason": "The build of 4f2c8d1e is queued.",
    "pull_request": {"number": 7, "title": "Turn the wheel faster", "source_branch": "faster"},
}


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let the commands talk to a fake server with the project 5. Return the list of its requests."""
    found: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        found.append(f"{request.method} {unquote(str(request.url).removeprefix('http://ci.example/api'))}")
        body = {"id": 5} if request.url.path.endswith("/projects/5") else {"data": [DELIVERY], **DELIVERY}
        return httpx.Response(200, json=body)

    client = Client("http://ci.example", "hrp_x", transport=httpx.MockTransport(answer))
    monkeypatch.setattr("client.session.connection.connect", lambda _url: client)
    return found


def test_waiting_builds_are_listed_with_their_pull_request(requests: list[str]) -> None:
    result = CliRunner().invoke(app, ["approvals", "ls", "5"])
    header, row = result.output.splitlines()
    cells = dict(zip(header.split("\t"), row.split("\t"), strict=True))
    assert (cells["id"], cells["number"], cells["source_branch"], cells["sender"]) == (
        DELIVERY_ID,
        "7",
        "faster",
        "stranger",
    )
    assert requests[1:] == ["GET /developer/projects/5/deliveries?per_page=100&decision[eq]=WAITING"]


def test_an_approval_names_the_delivery(requests: list[str]) -> None:
    result = CliRunner().invoke(app, ["approvals", "approve", "5", DELIVERY_ID])
    assert result.output == "Approved: The build of 4f2c8d1e is queued.\n"
    assert requests[1:] == [f"POST /developer/projects/5/deliveries/{DELIVERY_ID}/approve"]
