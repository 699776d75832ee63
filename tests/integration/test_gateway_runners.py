"""What a runner meets at the gateway: registration, the held request, the log, the state."""

import asyncio
import contextlib
import time
import zlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from contracts.builds import (
    AppendTrace,
    Assignment,
    Claim,
    ClaimJob,
    JobQueued,
    LaunchedProject,
    PlannedJob,
    ReportJob,
    ReturnClaim,
    Returned,
    TraceState,
    Variable,
)
from contracts.errors import Refused
from contracts.projects import GetRequestBody
from contracts.runners import (
    DeleteRunner,
    GetRunner,
    RegisterRunner,
    ResetRunnerToken,
    RunnerInfo,
    RunnerProfile,
    RunnerRegistration,
    RunnerView,
    TouchRunner,
)
from gateway.app import JOB_QUEUED
from libs.messaging import Responder, settled
from tests.integration.gateway_stage import ADMIN, DEVELOPER, Stage, done, eventually, serving, stage
from tests.support.servers import lone_nats

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
RUNNER = RunnerProfile(
    runner_id=7, runner_uuid="r-7", name="seven", tags=("linux",), owner_type="GLOBAL", owner_id=None
)
VIEW = RunnerView(
    id=7,
    uuid="r-7",
    name="seven",
    owner_type="GLOBAL",
    owner_id=None,
    online=True,
    registered_at=datetime(2026, 1, 2, tzinfo=UTC),
    connected_at=datetime(2026, 1, 2, tzinfo=UTC),
    ip_address="",
    info=RunnerInfo(),
)
PROJECT = LaunchedProject(
    project_id=84,
    name="Mill",
    owner_alias="ivan",
    alias="mill",
    repository="https://forge.example/mill.git",
    branch="main",
    spec_file_path="/ci.yaml",
)
SHA = "f9a06e6e677efa280834f7bb7d17f5355f1e31df"
ASSIGNMENT = Assignment(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    attempt=1,
    token="job-token",
    name="build",
    stage="build",
    ref="main",
    sha=SHA,
    project=PROJECT,
    script=("echo hello",),
    variables=(Variable(key="KEY", value="hush", masked=True), Variable(key="CI_COMMIT_SHA", value=SHA)),
    image=None,
    timeout_seconds=3600,
    queued_at=NOON,
)
QUEUED = JobQueued(
    job_id=11,
    job_uuid="j-11",
    build_id=17,
    project_id=84,
    owner_alias="ivan",
    attempt=1,
    ref="main",
    sha=SHA,
    project=PROJECT,
    job=PlannedJob(job_id=11, job_uuid="j-11", name="build"),
)
HOLD_SECONDS = 0.4
TOKEN = {"RUNNER-TOKEN": "runner-token"}
JOB_TOKEN = {"JOB-TOKEN": "job-token"}


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url, long_poll_seconds=HOLD_SECONDS) as one:
            yield one


@pytest.fixture(scope="module")
async def patient(here: Stage) -> AsyncIterator[Stage]:
    """Another gateway, that holds requests for longer than a test takes."""
    settings = replace(here.gateway.world.settings, long_poll_seconds=60)
    async with (
        serving(settings) as (gateway, server, url),
        httpx.AsyncClient(base_url=url, timeout=20) as http,
    ):
        yield replace(here, http=http, gateway=gateway, server=server)


@pytest.fixture(autouse=True)
async def one_runner_and_no_job(here: Stage) -> None:
    here.services.told.clear()
    await here.services.play(TouchRunner, lambda _: RUNNER)
    await here.services.play(ClaimJob, lambda _: Claim(assignment=None))


def job_requested(here: Stage, **more: Any) -> "asyncio.Task[httpx.Response]":
    return asyncio.create_task(here.http.post("/api/v4/jobs/request", json={"token": "runner-token"}, **more))


async def waits(here: Stage, count: int = 1) -> None:
    """As many runners are held, and each has asked for a job."""

    async def held() -> bool:
        return len(here.gateway.world.waiting) == count and len(here.services.told_of(ClaimJob)) >= count

    await eventually(held, bool, within=5)


async def hang_up(here: Stage, requests: "list[asyncio.Task[httpx.Response]]") -> None:
    for request in requests:
        request.cancel()
    await asyncio.gather(*requests, return_exceptions=True)
    await eventually(lambda: asyncio.sleep(0, len(here.gateway.world.waiting)), lambda count: count == 0, within=10)


async def queue(here: Stage, job: JobQueued = QUEUED) -> None:
    await here.client.publish(JOB_QUEUED.replace("*", f"job-{job.job_id}"), job.model_dump_json().encode())
    await settled(here.client)


# ---- registration


async def test_a_runner_registers_with_json(here: Stage) -> None:
    await here.services.play(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    body = {
        "token": "registration",
        "description": "a box",
        "tag_list": "linux, docker,linux",
        "run_untagged": False,
        "access_level": "ref_protected",
        "maximum_timeout": 60,
        "paused": True,
        "info": {"platform": "linux", "architecture": "amd64", "features": {"cache": True}},
    }
    answer = await here.http.post("/api/v4/runners", json=body)
    assert answer.status_code == 201
    assert answer.json() == {"id": 7, "token": "new", "token_expires_at": None}
    told = here.services.told_of(RegisterRunner)[0].message
    assert (told.tags, told.run_untagged, told.protected) == (("linux", "docker"), False, True)
    assert (told.max_timeout_seconds, told.active, told.info.platform) == (60, False, "linux")
    assert told.ip_address == "127.0.0.1"


@pytest.mark.parametrize("wrong", [{"access_level": "protected"}, {"tag_list": [1, 2]}, {"tag_list": {"a": "b"}}])
async def test_a_setting_that_makes_no_sense_registers_nobody(here: Stage, wrong: dict[str, Any]) -> None:
    answer = await here.http.post("/api/v4/runners", json={"token": "registration", **wrong})
    assert answer.status_code == 422
    assert here.services.told_of(RegisterRunner) == []


async def test_an_administrator_resets_the_token_of_a_runner_by_its_number(here: Stage) -> None:
    await here.services.play(GetRunner, lambda _: VIEW)
    await here.services.play(ResetRunnerToken, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    path = "/api/v4/runners/7/reset_authentication_token"
    answer = await here.http.post(path, headers={"PRIVATE-TOKEN": here.users.token(ADMIN)})
    assert (answer.status_code, answer.json()["token"]) == (201, "new")
    (told,) = here.services.told_of(ResetRunnerToken)
    assert (told.message.runner_uuid, told.actor.name) == ("r-7", f"user{ADMIN}")
    refused = [{}, {"PRIVATE-TOKEN": "nobody's"}, {"PRIVATE-TOKEN": here.users.token(DEVELOPER)}]
    assert [(await here.http.post(path, headers=one)).status_code for one in refused] == [403, 403, 403]


async def test_a_machine_that_leaves_does_not_take_its_runner_with_it(here: Stage) -> None:
    sent = {"token": "runner-token", "system_id": "s_1"}
    assert (await here.http.request("DELETE", "/api/v4/runners/managers", json=sent)).status_code == 204
    assert len(here.services.told_of(TouchRunner)) == 1


async def test_a_runner_registers_with_a_form(here: Stage) -> None:
    await here.services.play(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    form = {"token": "registration", "tag_list": ["a", "b"], "run_untagged": "False", "info": "name"}
    answer = await here.http.post("/api/v4/runners", data=form)
    assert answer.status_code == 201
    told = here.services.told_of(RegisterRunner)[0].message
    assert (told.tags, told.run_untagged, told.registration_token) == (("a", "b"), False, "registration")


async def test_the_address_that_gitflic_names_registers_as_well(here: Stage) -> None:
    await here.services.play(RegisterRunner, lambda _: RunnerRegistration(id=7, uuid="r-7", token="new"))
    body = {"token": "registration", "name": "a box", "tags": ["a", "b"], "runUntagged": False, "platform": "linux"}
    answer = await here.http.post("/-/runner/registration", json=body)
    assert answer.status_code == 201
    assert answer.json() == {"id": 7, "uuid": "r-7", "token": "new", "token_expires_at": None}
    told = here.services.told_of(RegisterRunner)[0].message
    assert (told.name, told.tags, told.run_untagged, told.info.platform) == ("a box", ("a", "b"), False, "linux")


async def test_there_a_wrong_token_is_forbidden_as_well(here: Stage) -> None:
    await here.services.play(RegisterRunner, refuse_registration)
    answer = await here.http.post("/-/runner/registration", json={"token": "wrong"})
    assert (answer.status_code, answer.json()["message"]) == (403, "REGISTRATION_TOKEN")


def refuse_registration(_command: RegisterRunner) -> None:
    raise Refused("REGISTRATION_TOKEN")


async def test_a_wrong_registration_token_is_forbidden_in_words(here: Stage) -> None:
    await here.services.play(RegisterRunner, refuse_registration)
    answer = await here.http.post("/api/v4/runners", json={"token": "wrong"})
    assert answer.status_code == 403
    assert answer.json() == {"message": "This registration token is not valid."}


async def test_a_runner_verifies_its_token(here: Stage) -> None:
    answer = await here.http.post("/api/v4/runners/verify", json={"token": "runner-token", "system_id": "s"})
    assert (answer.status_code, answer.json()) == (200, {"id": 7, "token": "runner-token", "token_expires_at": None})


async def test_a_runner_leaves_for_good(here: Stage) -> None:
    await here.services.play(DeleteRunner, lambda _: done("runner-r-7"))
    answer = await here.http.request("DELETE", "/api/v4/runners", data={"token": "runner-token"})
    assert answer.status_code == 204
    assert here.services.told_of(DeleteRunner)[0].message == DeleteRunner(runner_uuid="r-7")


# ---- a job


async def test_a_waiting_job_is_handed_out_at_once(here: Stage) -> None:
    await here.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    answer = await job_requested(here)
    assert (answer.status_code, answer.headers["Content-Type"]) == (201, "application/json")
    job = answer.json()
    assert (job["id"], job["token"], job["steps"][0]["script"]) == (11, "job-token", ["echo hello"])
    assert job["git_info"]["refspecs"] == ["+refs/heads/main:refs/remotes/origin/main"]
    assert {"key": "KEY", "value": "hush", "public": False, "masked": True, "file": False, "raw": True} in job[
        "variables"
    ]
    plain = {one["key"]: one["value"] for one in job["variables"]}
    assert (plain["CI_COMMIT_SHA"], plain["CI_CONFIG_PATH"].startswith(".headrace/")) == (SHA, True)
    assert here.services.told_of(ClaimJob)[0].message.runner.tags == ("linux",)


@pytest.mark.parametrize(
    ("info", "can"),
    [
        ({"features": {"cancel_gracefully": True}}, True),
        ({"features": {"cancel_gracefully": False}}, False),
        ({"features": ["cancel_gracefully"]}, False),
        ({}, False),
        ("nothing", False),
    ],
)
async def test_a_runner_cleans_up_only_if_it_announced_that_it_can(here: Stage, info: Any, can: bool) -> None:
    await here.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    await here.http.post("/api/v4/jobs/request", json={"token": "runner-token", "info": info})
    assert here.services.told_of(ClaimJob)[0].message.runner.cancels_gracefully is can


async def test_a_request_without_work_is_held_and_then_answered(here: Stage) -> None:
    begun = time.monotonic()
    answer = await job_requested(here)
    assert answer.status_code == 204
    assert answer.headers["X-GitLab-Last-Update"]
    assert time.monotonic() - begun >= HOLD_SECONDS
    assert len(here.gateway.world.waiting) == 0


async def test_a_held_runner_gets_a_queued_job_at_once(patient: Stage) -> None:
    request = job_requested(patient)
    await waits(patient)
    await patient.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    await queue(patient)
    async with asyncio.timeout(5):  # its time to wait is a minute
        answer = await request
    assert answer.json()["id"] == 11


async def test_one_queued_job_wakes_one_of_many_runners(here: Stage, patient: Stage) -> None:
    requests = [job_requested(patient) for _ in range(50)]
    await waits(patient, 50)
    here.services.told.clear()
    await queue(here)
    await eventually(lambda: claims(here), bool, within=10)
    await asyncio.sleep(HOLD_SECONDS)  # time for a second claim
    assert await claims(here) == 1
    await hang_up(patient, requests)


async def test_every_gateway_wakes_one_runner_at_most(here: Stage, patient: Stage) -> None:
    async with (
        serving(patient.gateway.world.settings) as (second, _, url),
        httpx.AsyncClient(base_url=url, timeout=20) as there,
    ):
        asking = {"token": "runner-token"}
        requests = [job_requested(patient) for _ in range(10)]
        requests += [asyncio.create_task(there.post("/api/v4/jobs/request", json=asking)) for _ in range(10)]
        await waits(patient, 10)
        await eventually(lambda: claims(here), lambda count: count == 20, within=5)
        assert len(second.world.waiting) == 10
        here.services.told.clear()
        await queue(here)
        await eventually(lambda: claims(here), lambda count: count == 2, within=10)
        await asyncio.sleep(HOLD_SECONDS)  # time for a third claim
        await hang_up(patient, requests)
        assert await claims(here) == 2


async def test_a_runner_that_is_called_in_vain_waits_on(patient: Stage) -> None:
    request = job_requested(patient)
    await waits(patient)
    await queue(patient)
    await eventually(lambda: claims(patient), lambda count: count == 2, within=10)
    await patient.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    await queue(patient)
    assert (await request).status_code == 201


async def test_a_runner_that_knows_the_news_does_not_look_again(here: Stage) -> None:
    known = {"token": "runner-token", "last_update": (await job_requested(here)).headers["X-GitLab-Last-Update"]}
    here.services.told.clear()
    again = await here.http.post("/api/v4/jobs/request", json=known)
    assert (again.status_code, again.headers["X-GitLab-Last-Update"]) == (204, known["last_update"])
    assert await claims(here) == 0
    await queue(here)
    other = await here.http.post("/api/v4/jobs/request", json=known)
    assert other.headers["X-GitLab-Last-Update"] != known["last_update"]
    assert await claims(here) == 1


async def test_a_runner_that_knows_the_news_is_called_nevertheless(here: Stage, patient: Stage) -> None:
    known = {"token": "runner-token", "last_update": (await job_requested(here)).headers["X-GitLab-Last-Update"]}
    request = asyncio.create_task(patient.http.post("/api/v4/jobs/request", json=known))
    await waits(patient)
    await patient.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    await queue(patient)
    assert (await request).status_code == 201


async def claims(here: Stage) -> int:
    return len(here.services.told_of(ClaimJob))


async def test_a_client_that_goes_away_leaves_the_list_and_gets_nothing(here: Stage, patient: Stage) -> None:
    request = job_requested(patient)
    await waits(patient)
    request.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await request
    await eventually(lambda: asyncio.sleep(0, len(patient.gateway.world.waiting)), lambda count: count == 0, within=10)
    here.services.told.clear()
    await queue(here)
    assert (await job_requested(here)).status_code == 204
    assert len(here.services.told_of(ClaimJob)) == 1  # the later request's own


async def test_a_runner_that_is_switched_off_asks_for_nothing(here: Stage) -> None:
    await here.services.play(TouchRunner, lambda _: RUNNER.but(active=False))
    answer = await job_requested(here)
    assert answer.status_code == 204
    assert here.services.told_of(ClaimJob) == []


async def test_an_edit_applies_to_a_held_request_at_once(patient: Stage) -> None:
    request = job_requested(patient)
    await waits(patient)
    await patient.services.play(TouchRunner, lambda _: RUNNER.but(tags=("linux", "gpu")))
    await patient.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    edited = b'{"runner_uuid": "r-7", "runner_id": 7}'
    await patient.client.publish("hint.runners.runner-r-7.RunnerEdited", edited)
    assert (await request).status_code == 201
    assert patient.services.told_of(ClaimJob)[-1].message.runner.tags == ("linux", "gpu")


def refuse_runner(_command: TouchRunner) -> None:
    raise Refused("RUNNER_TOKEN")


async def test_an_unknown_runner_is_forbidden(here: Stage) -> None:
    await here.services.play(TouchRunner, refuse_runner)
    assert (await job_requested(here)).status_code == 403


async def returned(here: Stage) -> list[str | None]:
    return [one.command_id for one in here.services.told_of(ReturnClaim)]


async def test_a_job_for_a_client_that_went_away_is_given_back(patient: Stage) -> None:
    await patient.services.play(ReturnClaim, lambda _: Returned(job_id=11))
    request = job_requested(patient)
    await waits(patient)
    (waiter,) = patient.gateway.world.waiting._waiters

    async def once_the_client_is_gone(_body: bytes, _headers: Mapping[str, str]) -> bytes:
        request.cancel()
        await eventually(lambda: asyncio.sleep(0, waiter.gone), bool, within=5)
        return b"the body"

    bodies = Responder(patient.client, "projects")
    await bodies.answer(GetRequestBody, once_the_client_is_gone)
    await patient.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT.but(delivery_id="d-1")))
    await queue(patient)
    found = await eventually(lambda: returned(patient), bool, within=5)
    await bodies.stop(1)
    assert found == [patient.services.told_of(ClaimJob)[-1].command_id]


def break_down(_command: Any) -> None:
    raise Refused("SERVICE_TIMEOUT")


async def test_a_claim_that_was_not_answered_is_given_back_and_tried_again_until_that_is_known(here: Stage) -> None:
    answers: Iterator[Callable[[], Any]] = iter([lambda: break_down(ClaimJob), lambda: Returned(job_id=None)])

    await here.services.play(ClaimJob, break_down)
    await here.services.play(ReturnClaim, lambda _: next(answers)())
    answer = await job_requested(here)
    claimed = here.services.told_of(ClaimJob)[0].command_id
    assert (answer.status_code, await returned(here)) == (504, [claimed, claimed])


async def test_a_job_without_the_body_of_its_webhook_is_given_back(here: Stage) -> None:
    await here.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT.but(delivery_id="d-1")))
    await here.services.play(ReturnClaim, lambda _: Returned(job_id=11))
    assert (await job_requested(here)).status_code == 503
    assert await returned(here) == [here.services.told_of(ClaimJob)[0].command_id]


async def test_a_repeated_request_is_the_same_claim_at_another_gateway_and_every_other_is_another_one(
    here: Stage,
) -> None:
    await here.services.play(ClaimJob, lambda _: Claim(assignment=ASSIGNMENT))
    body, name = {"token": "runner-token"}, {"X-Request-Id": "4f7c2f4d6c1c4e0f9a2f3b1c0d5e6f70"}
    async with (
        serving(here.gateway.world.settings) as (_, _, url),
        httpx.AsyncClient(base_url=url, timeout=20) as there,
    ):
        await here.http.post("/api/v4/jobs/request", json=body, headers=name)
        await there.post("/api/v4/jobs/request", json=body, headers=name)
    await here.http.post("/api/v4/jobs/request", json=body, headers={"X-Request-Id": "1"})
    await here.http.post("/api/v4/jobs/request", json=body, headers={"X-Request-Id": "1"})
    first, again, other, another = [one.command_id for one in here.services.told_of(ClaimJob)]
    assert first == again
    assert len({first, other, another}) == 3


# ---- the log and the state


async def test_a_log_is_taken_from_the_start_of_its_range(here: Stage) -> None:
    state = TraceState(job_status="running", length=12, accepted=True)
    await here.services.play(AppendTrace, lambda _: state)
    headers = JOB_TOKEN | {"Content-Range": "7-12", "Content-Type": "text/plain"}
    answer = await here.http.patch("/api/v4/jobs/11/trace?debug_trace=false", content=b"hello", headers=headers)
    assert answer.status_code == 202
    assert (answer.headers["Job-Status"], answer.headers["Range"]) == ("running", "0-12")
    assert answer.headers["X-GitLab-Trace-Update-Interval"] == "1"
    told = here.services.told_of(AppendTrace)[0].message
    assert (told.job_id, told.token, told.offset, told.content) == (11, "job-token", 7, b"hello")


async def test_a_large_piece_of_log_is_passed_on_in_parts(here: Stage) -> None:
    await here.services.play(
        AppendTrace,
        lambda told: TraceState(job_status="running", length=told.offset + len(told.content), accepted=True),
    )
    log = bytes(range(256)) * 4096
    answer = await here.http.patch(
        "/api/v4/jobs/11/trace", content=log, headers=JOB_TOKEN | {"Content-Range": f"0-{len(log) - 1}"}
    )
    assert answer.headers["Range"] == f"0-{len(log)}"
    told = [one.message for one in here.services.told_of(AppendTrace)]
    assert [one.offset for one in told] == [0, 512 * 1024]
    assert zlib.crc32(b"".join(one.content for one in told)) == zlib.crc32(log)


async def test_an_empty_piece_of_log_is_welcome(here: Stage) -> None:
    await here.services.play(AppendTrace, lambda _: TraceState(job_status="running", length=5, accepted=True))
    answer = await here.http.patch("/api/v4/jobs/11/trace", headers=JOB_TOKEN | {"Content-Range": "5-5"})
    assert answer.status_code == 202


async def test_a_log_without_a_range_is_a_bad_request(here: Stage) -> None:
    assert (await here.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN)).status_code == 400


def refuse_range(_command: AppendTrace) -> None:
    raise Refused("LOG_RANGE", "5")


async def test_a_log_that_does_not_continue_is_told_where_to(here: Stage) -> None:
    await here.services.play(AppendTrace, refuse_range)
    headers = JOB_TOKEN | {"Content-Range": "9-9"}
    answer = await here.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=headers)
    assert (answer.status_code, answer.headers["Range"]) == (416, "0-5")


def refuse_job_token(_command: AppendTrace) -> None:
    raise Refused("JOB_TOKEN")


async def test_a_strange_job_token_is_forbidden(here: Stage) -> None:
    await here.services.play(AppendTrace, refuse_job_token)
    headers = JOB_TOKEN | {"Content-Range": "0-0"}
    answer = await here.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=headers)
    assert (answer.status_code, answer.json().keys()) == (403, {"message"})


async def test_a_cancelled_job_is_told_so(here: Stage) -> None:
    over = TraceState(job_status="canceled", length=5, accepted=False)
    await here.services.play(AppendTrace, lambda _: over)
    await here.services.play(ReportJob, lambda _: over)
    trace = await here.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN | {"Content-Range": "5-5"})
    state = await here.http.put("/api/v4/jobs/11", json={"token": "job-token", "state": "running"})
    assert [(one.status_code, one.headers["Job-Status"]) for one in (trace, state)] == [(403, "canceled")] * 2


async def test_a_job_that_is_to_clean_up_is_told_so(here: Stage) -> None:
    ending = TraceState(job_status="canceling", length=5, accepted=True)
    await here.services.play(AppendTrace, lambda _: ending)
    await here.services.play(ReportJob, lambda _: ending)
    trace = await here.http.patch("/api/v4/jobs/11/trace", content=b"x", headers=JOB_TOKEN | {"Content-Range": "4-4"})
    state = await here.http.put("/api/v4/jobs/11", json={"token": "job-token", "state": "running"})
    assert (trace.status_code, trace.headers["Job-Status"]) == (202, "canceling")
    assert (state.status_code, state.headers["Job-Status"]) == (200, "canceling")


async def test_a_state_is_reported(here: Stage) -> None:
    await here.services.play(ReportJob, lambda _: TraceState(job_status="failed", length=5, accepted=True))
    body = {
        "token": "job-token",
        "state": "failed",
        "failure_reason": "script_failure",
        "exit_code": 3,
        "output": {"checksum": "crc32:3610a686", "bytesize": 5},
    }
    answer = await here.http.put("/api/v4/jobs/11", json=body)
    assert (answer.status_code, answer.text) == (200, "200")
    assert here.services.told_of(ReportJob)[0].message == ReportJob(
        job_id=11,
        token="job-token",
        state="failed",
        exit_code=3,
        failure_reason="script_failure",
        checksum="crc32:3610a686",
        bytesize=5,
    )


def refuse_checksum(_command: ReportJob) -> None:
    raise Refused("LOG_CHECKSUM")


@pytest.mark.parametrize("reason", ["x" * 65, "a\x1b[31mb", "Made up!", "line\nbreak"])
async def test_a_reason_that_is_no_word_is_unknown(here: Stage, reason: str) -> None:
    await here.services.play(ReportJob, lambda _: TraceState(job_status="failed", length=0, accepted=True))
    sent = {"token": "job-token", "state": "failed", "failure_reason": reason}
    assert (await here.http.put("/api/v4/jobs/11", json=sent)).status_code == 200
    assert here.services.told_of(ReportJob)[0].message.failure_reason == "unknown_failure"


async def test_a_log_that_arrived_damaged_is_asked_for_again(here: Stage) -> None:
    await here.services.play(ReportJob, refuse_checksum)
    answer = await here.http.put("/api/v4/jobs/11", json={"state": "success"}, headers=JOB_TOKEN)
    assert answer.status_code == 412


@pytest.mark.parametrize(
    "body", [{"state": "dancing"}, {}, {"state": ["failed"]}, {"state": "failed", "exit_code": []}]
)
async def test_a_state_that_makes_no_sense_is_the_runners_fault(here: Stage, body: dict[str, Any]) -> None:
    answer = await here.http.put("/api/v4/jobs/11", json=body, headers=JOB_TOKEN)
    assert 400 <= answer.status_code < 500


# ---- the end


async def test_a_gateway_that_stops_sends_held_runners_away(tmp_path_factory: pytest.TempPathFactory) -> None:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url, long_poll_seconds=60) as here:
            await here.services.play(TouchRunner, lambda _: RUNNER)
            await here.services.play(ClaimJob, lambda _: Claim(assignment=None))
            request = job_requested(here)
            await waits(here)
            here.server.leave()
            answer = await asyncio.wait_for(request, 5)
    assert (answer.status_code, answer.headers["connection"]) == (204, "close")


async def test_a_gateway_that_leaves_in_peace_serves_on_and_sends_its_clients_elsewhere(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with lone_nats(tmp_path_factory.mktemp("bus")) as server:
        async with stage(server.program.url, long_poll_seconds=60, leave_seconds=60) as here:
            await here.services.play(TouchRunner, lambda _: RUNNER)
            await here.services.play(ClaimJob, lambda _: Claim(assignment=None))
            request = job_requested(here)
            await waits(here)
            here.server.leave()
            for path, status in (("/readyz", 503), ("/api/openapi.json", 200)):
                answer = await here.http.get(path)
                assert (answer.status_code, answer.headers["connection"]) == (status, "close")
            assert not request.done()
            here.server.leave()
            answer = await asyncio.wait_for(request, 5)
    assert (answer.status_code, answer.headers["connection"]) == (204, "close")
