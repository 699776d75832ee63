"""Versions of GitLab Runner and of other runners: the features they announce, and the behavior that depends on them."""

import asyncio
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest

from tests.support.external.repositories import commit_files, make_spec
from tests.support.in_process.build_system import Body, BuildSystem, FakeRunner
from tests.support.waiting import eventually

SPEC = "versions.yaml"
JOB_LIST_FIELD = "restPipelineJobModelList"
FEATURES_BY_VERSION: dict[str, dict[str, bool]] = {
    "14.7": {"cancelable": True, "raw_variables": True},
    "17.11": {"cancelable": True, "raw_variables": True, "cancel_gracefully": True},
    "18.5": {"cancelable": True, "raw_variables": True, "cancel_gracefully": True, "two_phase_job_commit": True},
}


@pytest.fixture(scope="module", autouse=True)
def spec(system: BuildSystem) -> None:
    commit_files(system.repository, {SPEC: make_spec({"build": "", "cleanup": ""})})


async def assign_job(system: BuildSystem, generation: str) -> tuple[FakeRunner, int, Body]:
    """Assign a job to a new runner, which has not reported yet. Return the runner, the build's id and the job."""
    project = await system.create_project(spec_file_path=f"/{SPEC}")
    runner = await system.register_runner(f"/project/{project['owner_alias']}/{project['alias']}/runners")
    build_id = await system.launch_build(project)
    body = {"token": runner.token, "info": {"features": FEATURES_BY_VERSION[generation]}}
    found: list[httpx.Response] = []

    async def is_taken() -> bool:
        found.append(await system.http.post("/api/v4/jobs/request", json=body))
        return found[-1].status_code == 201

    await eventually(is_taken)
    return runner, build_id, dict(found[-1].json())


async def start_kill(system: BuildSystem, build_id: int, job: Body) -> "asyncio.Task[httpx.Response]":
    """Kill a build and wait until its job is canceling or canceled. Return the pending HTTP request."""
    executor_id = (await system.get_build(build_id))["executor_id"]
    path = f"/api/developer/builds/kill/executed/{executor_id}"
    kill_request = asyncio.create_task(system.http.delete(path, headers=system.admin))

    async def is_decided() -> bool:
        entries = (await system.get(f"/api/admin/history/job/{job['id']}"))["entries"]
        return bool({"JobCanceling", "JobFinished"} & {event["name"] for entry in entries for event in entry["events"]})

    await eventually(is_decided)
    return kill_request


async def append_log(system: BuildSystem, job: Body, text: str) -> httpx.Response:
    headers = {"JOB-TOKEN": job["token"], "Content-Range": f"0-{len(text) - 1}"}
    return await system.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=text, headers=headers)


async def get_only_job(system: BuildSystem, runner: FakeRunner) -> Body:
    (job,) = (await system.get(f"/admin/runners/{runner.uuid}/jobs"))["_embedded"][JOB_LIST_FIELD]
    return dict(job)


async def test_a_kill_before_the_first_report_cancels_gracefully_if_the_script_may_be_running(
    system: BuildSystem,
) -> None:
    runner, build_id, job = await assign_job(system, "17.11")
    kill_request = await start_kill(system, build_id, job)
    response = await append_log(system, job, "the script runs\n")
    assert (response.status_code, response.headers["Job-Status"]) == (202, "canceling")
    assert (await runner.report(job, "failed", failure_reason="job_canceled")).status_code == 200
    assert (await kill_request).status_code == 204
    assert (await system.wait_until_ended(build_id))["exit_code"] == 143
    assert (await get_only_job(system, runner))["startedAt"] is not None


@pytest.mark.parametrize("generation", ["14.7", "18.5"])
async def test_a_kill_before_the_first_report_cancels_at_once_without_graceful_cancel_support(
    system: BuildSystem, generation: str
) -> None:
    """A runner with two-phase commit drops a job without a final report if its first report returns `canceling`."""
    runner, build_id, job = await assign_job(system, generation)
    kill_request = await start_kill(system, build_id, job)
    assert (await system.wait_until_ended(build_id))["exit_code"] == 143
    assert (await kill_request).status_code == 204
    response = await runner.report(job, "running")
    assert (response.status_code, response.headers["Job-Status"]) == (403, "canceled")


async def test_a_kill_after_the_first_report_cancels_a_two_phase_commit_runner_gracefully(system: BuildSystem) -> None:
    runner, build_id, job = await assign_job(system, "18.5")
    assert (await runner.report(job, "running")).headers["Job-Status"] == "running"
    kill_request = await start_kill(system, build_id, job)
    response = await append_log(system, job, "the script runs\n")
    assert (response.status_code, response.headers["Job-Status"]) == (202, "canceling")
    await runner.report(job, "failed", failure_reason="job_canceled")
    assert (await kill_request).status_code == 204


@pytest.mark.parametrize(("generation", "from_assignment"), [("14.7", True), ("17.11", True), ("18.5", False)])
async def test_a_job_starts_at_its_assignment_unless_its_runner_uses_two_phase_commit(
    system: BuildSystem, generation: str, from_assignment: bool
) -> None:
    runner, build_id, job = await assign_job(system, generation)
    await asyncio.sleep(1)  # the duration that the test measures
    await runner.report(job, "success")
    await system.wait_until_ended(build_id)
    about = await get_only_job(system, runner)
    took = datetime.fromisoformat(about["finishedAt"]) - datetime.fromisoformat(about["startedAt"])
    assert (took >= timedelta(seconds=1)) is from_assignment


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
async def test_a_runner_registers_as_paused_with_the_fields_of_every_runner_version(
    system: BuildSystem, sent: dict[str, Any], active: bool
) -> None:
    runner = await system.register_runner(**sent)
    shown = await system.get(f"/admin/runners/{runner.uuid}")
    assert shown["active"] is active
