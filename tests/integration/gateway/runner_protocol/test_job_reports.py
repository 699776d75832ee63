"""Logs and job states that runners report to the gateway."""

import zlib
from typing import Any

import pytest

from contracts.builds import (
    AppendTrace,
    LogEnd,
    ReportJob,
    TraceState,
)
from contracts.errors import RequestRejected
from tests.support.in_process.gateway_stage import (
    GatewayStage,
)

JOB_TOKEN = {"JOB-TOKEN": "job-token"}


async def test_a_log_chunk_is_stored_at_the_offset_of_its_content_range(stage: GatewayStage) -> None:
    state = TraceState(job_status="running", length=12, accepted=True)
    await stage.services.serve(AppendTrace, lambda _: state)
    headers = JOB_TOKEN | {"Content-Range": "7-12", "Content-Type": "text/plain"}
    response = await stage.http.patch("/api/v4/jobs/11/trace?debug_trace=false", content=b"hello", headers=headers)
    assert response.status_code == 202
    assert (response.headers["Job-Status"], response.headers["Range"]) == ("running", "0-12")
    assert response.headers["X-GitLab-Trace-Update-Interval"] == "1"
    command = stage.services.received_of(AppendTrace)[0].message
    assert (command.job_id, command.token, command.offset, command.content) == (11, "job-token", 7, b"hello")


async def test_a_large_log_chunk_is_forwarded_in_parts(stage: GatewayStage) -> None:
    await stage.services.serve(
        AppendTrace,
        lambda command: TraceState(job_status="running", length=command.offset + len(command.content), accepted=True),
    )
    log = bytes(range(256)) * 4096
    response = await stage.http.patch(
        "/api/v4/jobs/11/trace", content=log, headers=JOB_TOKEN | {"Content-Range": f"0-{len(log) - 1}"}
    )
    assert response.headers["Range"] == f"0-{len(log)}"
    commands = [received.message for received in stage.services.received_of(AppendTrace)]
    assert [command.offset for command in commands] == [0, 512 * 1024]
    assert zlib.crc32(b"".join(command.content for command in commands)) == zlib.crc32(log)


async def test_an_empty_log_chunk_is_accepted(stage: GatewayStage) -> None:
    await stage.services.serve(AppendTrace, lambda _: TraceState(job_status="running", length=5, accepted=True))
    response = await stage.http.patch("/api/v4/jobs/11/trace", headers=JOB_TOKEN | {"Content-Range": "5-5"})
    assert response.status_code == 202


async def test_a_log_chunk_without_a_content_range_is_400(stage: GatewayStage) -> None:
    assert (await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN)).status_code == 400


def refuse_range(_command: AppendTrace) -> None:
    raise RequestRejected("LOG_RANGE", "5")


async def test_a_log_chunk_at_a_wrong_offset_is_416_with_the_stored_range(stage: GatewayStage) -> None:
    await stage.services.serve(AppendTrace, refuse_range)
    headers = JOB_TOKEN | {"Content-Range": "9-9"}
    response = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=headers)
    assert (response.status_code, response.headers["Range"]) == (416, "0-5")


def refuse_job_token(_command: AppendTrace) -> None:
    raise RequestRejected("JOB_TOKEN")


async def test_an_unknown_job_token_is_403(stage: GatewayStage) -> None:
    await stage.services.serve(AppendTrace, refuse_job_token)
    headers = JOB_TOKEN | {"Content-Range": "0-0"}
    response = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=headers)
    assert (response.status_code, response.json().keys()) == (403, {"message"})


async def test_a_canceled_job_is_reported_in_the_job_status_header(stage: GatewayStage) -> None:
    over = TraceState(job_status="canceled", length=5, accepted=False)
    await stage.services.serve(AppendTrace, lambda _: over)
    await stage.services.serve(ReportJob, lambda _: over)
    trace = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN | {"Content-Range": "5-5"})
    state = await stage.http.put("/api/v4/jobs/11", json={"token": "job-token", "state": "running"})
    assert [(response.status_code, response.headers["Job-Status"]) for response in (trace, state)] == [
        (403, "canceled")
    ] * 2


async def test_a_canceling_job_is_reported_in_the_job_status_header(stage: GatewayStage) -> None:
    ending = TraceState(job_status="canceling", length=5, accepted=True)
    await stage.services.serve(AppendTrace, lambda _: ending)
    await stage.services.serve(ReportJob, lambda _: ending)
    trace = await stage.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN | {"Content-Range": "4-4"})
    state = await stage.http.put("/api/v4/jobs/11", json={"token": "job-token", "state": "running"})
    assert (trace.status_code, trace.headers["Job-Status"]) == (202, "canceling")
    assert (state.status_code, state.headers["Job-Status"]) == (200, "canceling")


async def test_a_final_job_state_is_forwarded(stage: GatewayStage) -> None:
    await stage.services.serve(ReportJob, lambda _: TraceState(job_status="failed", length=5, accepted=True))
    body = {
        "token": "job-token",
        "state": "failed",
        "failure_reason": "script_failure",
        "exit_code": 3,
        "output": {"checksum": "crc32:3610a686", "bytesize": 5},
        "log_end": {"offset": 2, "content": "bGxv"},
    }
    response = await stage.http.put("/api/v4/jobs/11", json=body)
    assert (response.status_code, response.text) == (200, "200")
    assert stage.services.received_of(ReportJob)[0].message == ReportJob(
        job_id=11,
        token="job-token",
        state="failed",
        exit_code=3,
        failure_reason="script_failure",
        checksum="crc32:3610a686",
        bytesize=5,
        log_end=LogEnd(offset=2, content=b"bGxv"),
    )


def refuse_checksum(_command: ReportJob) -> None:
    raise RequestRejected("LOG_CHECKSUM")


@pytest.mark.parametrize("reason", ["x" * 65, "a\x1b[31mb", "Made up!", "line\nbreak"])
async def test_an_invalid_failure_reason_becomes_unknown_failure(stage: GatewayStage, reason: str) -> None:
    await stage.services.serve(ReportJob, lambda _: TraceState(job_status="failed", length=0, accepted=True))
    sent = {"token": "job-token", "state": "failed", "failure_reason": reason}
    assert (await stage.http.put("/api/v4/jobs/11", json=sent)).status_code == 200
    assert stage.services.received_of(ReportJob)[0].message.failure_reason == "unknown_failure"


async def test_a_log_checksum_mismatch_is_412(stage: GatewayStage) -> None:
    await stage.services.serve(ReportJob, refuse_checksum)
    response = await stage.http.put("/api/v4/jobs/11", json={"state": "success"}, headers=JOB_TOKEN)
    assert response.status_code == 412


@pytest.mark.parametrize(
    "body",
    [
        {"state": "dancing"},
        {},
        {"state": ["failed"]},
        {"state": "failed", "exit_code": []},
        {"state": "failed", "log_end": {"content": "bGxv"}},
        {"state": "failed", "log_end": {"offset": 0, "content": "?"}},
        {"state": "failed", "log_end": {"offset": 0, "content": "A" * 200_000}},
    ],
)
async def test_an_invalid_job_state_is_a_client_error(stage: GatewayStage, body: dict[str, Any]) -> None:
    response = await stage.http.put("/api/v4/jobs/11", json=body, headers=JOB_TOKEN)
    assert 400 <= response.status_code < 500
