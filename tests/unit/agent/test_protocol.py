"""The agent's client of the runner protocol: requested delays, and interpretation of responses."""

import httpx
import pytest

from agent.protocol.client import ProtocolClient
from agent.protocol.responses import JobResponse, to_job_response
from agent.protocol.retry_after import parse_retry_after


@pytest.mark.parametrize(
    ("headers", "pause"),
    [
        ({}, 0),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": "7000"}, 60),
        ({"Retry-After": "soon"}, 0),
        ({"RateLimit-ResetTime": "Fri, 01 Jan 2100 00:00:00 GMT", "Retry-After": "7"}, 60),
        ({"RateLimit-ResetTime": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
    ],
)
def test_the_server_sets_the_backoff_within_a_limit(headers: dict[str, str], pause: float) -> None:
    assert parse_retry_after(httpx.Headers(headers)) == pause


def test_a_trace_response_is_read_from_its_headers() -> None:
    headers = {"Job-Status": "running", "Range": "0-120", "X-GitLab-Trace-Update-Interval": "5"}
    assert to_job_response(httpx.Response(202, headers=headers)) == JobResponse(202, "running", 120, 5.0)
    assert to_job_response(httpx.Response(202)) == JobResponse(202, "", None, None)


@pytest.mark.parametrize(
    ("status", "job_status", "aborts"),
    [
        (202, "running", False),
        (202, "canceling", False),
        (202, "canceled", True),
        (200, "failed", True),
        (403, "", True),
        (404, "", True),
        (416, "running", False),
    ],
)
def test_some_trace_responses_abort_the_job(status: int, job_status: str, aborts: bool) -> None:
    assert JobResponse(status, job_status, None, None).is_aborted is aborts


async def test_a_retried_job_request_keeps_its_request_id() -> None:
    names: list[str] = []

    def answers_at_last(request: httpx.Request) -> httpx.Response:
        names.append(request.headers["X-Request-Id"])
        return httpx.Response(502 if len(names) == 1 else 204)

    async with ProtocolClient("http://127.0.0.1:1") as protocol:
        protocol._client = httpx.AsyncClient(
            base_url="http://127.0.0.1:1", transport=httpx.MockTransport(answers_at_last)
        )
        await protocol.request_job("token", "s", None)
        await protocol.request_job("token", "s", None)
    first, again, other = names
    assert first == again != other
