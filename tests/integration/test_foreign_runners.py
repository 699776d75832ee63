"""Runners of other makes, over HTTP on all the services: what they announce, what they get, what they may be told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.integration.whole_stage import Body, RunnerAtWork, Whole, whole_stage
from tests.support import eventually
from tests.support.repositories import commit, spec_of

JOBS = "restPipelineJobModelList"
GENERATIONS: dict[str, dict[str, bool]] = {
    "14.7": {"cancelable": True, "raw_variables": True},
    "17.11": {"cancelable": True, "raw_variables": True, "cancel_gracefully": True},
    "18.5": {"cancelable": True, "raw_variables": True, "cancel_gracefully": True, "two_phase_job_commit": True},
}


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        commit(whole.repository, {"headrace.yaml": spec_of({"build": "", "cleanup": ""})})
        yield whole


async def given(here: Whole, generation: str) -> tuple[RunnerAtWork, int, Body]:
    """A runner of its own that has got the job of a build, and has not reported yet."""
    project = await here.project()
    runner = await here.runner(f"/project/{project['owner_alias']}/{project['alias']}/runners")
    build_id = await here.launched(project)
    body = {"token": runner.token, "info": {"features": GENERATIONS[generation]}}
    found: list[httpx.Response] = []

    async def taken() -> bool:
        found.append(await here.http.post("/api/v4/jobs/request", json=body))
        return found[-1].status_code == 201

    await eventually(taken, within=30)
    return runner, build_id, dict(found[-1].json())


async def kill(here: Whole, build_id: int) -> "asyncio.Task[httpx.Response]":
    """Answered when the build is over; returns once it has been decided how it ends."""
    executor_id = (await here.build(build_id))["executor_id"]
    path = f"/api/developer/builds/kill/executed/{executor_id}"
    killing = asyncio.create_task(here.http.delete(path, headers=here.admin))

    async def decided() -> bool:
        return (await here.build(build_id))["status"] in ("CANCELING", "KILLED")

    await eventually(decided, within=20)
    return killing


async def log(here: Whole, job: Body, text: str) -> httpx.Response:
    headers = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(text) - 1}"}
    return await here.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=text, headers=headers)


async def listed(here: Whole, runner: RunnerAtWork) -> Body:
    (job,) = (await here.get(f"/admin/runners/{runner.uuid}/jobs"))["_embedded"][JOBS]
    return dict(job)


# ---- cancel and times of clients that run the script before their first report


async def test_a_kill_before_the_first_report_runs_the_clean_up_where_the_script_may_run(here: Whole) -> None:
    runner, build_id, job = await given(here, "17.11")
    killing = await kill(here, build_id)
    answer = await log(here, job, "the script runs\n")
    assert (answer.status_code, answer.headers["Job-Status"]) == (202, "canceling")
    assert (await runner.report(job, "failed", failure_reason="job_canceled")).status_code == 200
    assert (await killing).status_code == 204
    assert (await here.ended(build_id))["exit_code"] == 143
    assert (await listed(here, runner))["startedAt"] is not None


@pytest.mark.parametrize("generation", ["14.7", "18.5"])
async def test_a_kill_before_the_first_report_ends_the_job_where_no_script_runs_or_none_can_clean_up(
    here: Whole, generation: str
) -> None:
    """A client with two-phase commit drops a job, and reports nothing, when its first report is told `canceling`."""
    runner, build_id, job = await given(here, generation)
    killing = await kill(here, build_id)
    assert (await here.ended(build_id))["exit_code"] == 143
    assert (await killing).status_code == 204
    answer = await runner.report(job, "running")
    assert (answer.status_code, answer.headers["Job-Status"]) == (403, "canceled")


async def test_a_kill_after_the_first_report_runs_the_clean_up_of_a_client_with_two_phase_commit(here: Whole) -> None:
    runner, build_id, job = await given(here, "18.5")
    assert (await runner.report(job, "running")).headers["Job-Status"] == "running"
    killing = await kill(here, build_id)
    answer = await log(here, job, "the script runs\n")
    assert (answer.status_code, answer.headers["Job-Status"]) == (202, "canceling")
    await runner.report(job, "failed", failure_reason="job_canceled")
    assert (await killing).status_code == 204


@pytest.mark.parametrize(("generation", "from_assignment"), [("14.7", True), ("17.11", True), ("18.5", False)])
async def test_a_job_has_run_since_its_runner_got_it_where_that_reports_late(
    here: Whole, generation: str, from_assignment: bool
) -> None:
    runner, build_id, job = await given(here, generation)
    await asyncio.sleep(1)  # what is measured
    await runner.report(job, "success")
    await here.ended(build_id)
    about = await listed(here, runner)
    took = datetime.fromisoformat(about["finishedAt"]) - datetime.fromisoformat(about["startedAt"])
    assert (took >= timedelta(seconds=1)) is from_assignment


# ---- registration


@pytest.mark.parametrize(
    ("sent", "active"),
    [
        ({"active": False}, False),
        ({"active": "false"}, False),
        ({"active": True}, True),
        ({"paused": True}, False),
        ({"paused": False}, True),
        ({"active": True, "paused": True}, False),
        ({}, True),
    ],
)
async def test_a_runner_registers_paused_in_the_words_of_every_generation(
    here: Whole, sent: dict[str, Any], active: bool
) -> None:
    runner = await here.runner(**sent)
    shown = await here.get(f"/admin/runners/{runner.uuid}")
    assert shown["active"] is active
