"""Cancellation of jobs: immediate, graceful with after_script, before the script starts, and during after_script."""

from pathlib import Path

import pytest

from tests.integration.agent.agent_runs import agent_config, find_sleeping_processes, job_payload, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer
from tests.support.waiting import eventually


@pytest.mark.parametrize("status", ["canceled", "failed"])
async def test_a_job_already_finished_on_the_server_is_stopped_and_reports_no_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, status: str
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo up", "sleep 7003 & sleep 7003"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await eventually(lambda: find_sleeping_processes("7003"))
        gitlab.job_status = status
        await eventually(lambda: find_sleeping_processes("7003") == [])
        await eventually(lambda: not list((tmp_path / "builds").glob("run-*/job-*")))
    assert {state["state"] for state in gitlab.state_reports[1]} == {"running"}


async def test_a_graceful_cancel_runs_after_script_and_reports_job_canceled(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "script", "script": ["exec sleep 7004"]},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS"], "when": "always"},
    ]
    payload = job_payload(1, repository, steps=steps, features={"failure_reasons": ["job_canceled"]})
    gitlab.pending_jobs.put_nowait(payload)
    async with running_agent(agent_config(gitlab, tmp_path)):
        await eventually(lambda: find_sleeping_processes("7004"))
        gitlab.job_status = "canceling"
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"]) == ("failed", "job_canceled")
    assert "cleaned canceled" in gitlab.log_text(1)
    assert "Terminated" not in gitlab.log_text(1)
    assert find_sleeping_processes("7004") == []


AFTER_SCRIPT_STEP = {
    "name": "after_script",
    "script": ["echo after $CI_JOB_STATUS"],
    "when": "always",
    "allow_failure": True,
}


async def test_after_script_sees_the_success_status_and_its_failure_does_not_change_it(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    failing = AFTER_SCRIPT_STEP | {"script": ["echo after $CI_JOB_STATUS; sleep 7013"], "timeout": 1}
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, steps=[{"name": "script", "script": ["echo so"]}, failing])
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert "after success" in gitlab.log_text(1)
    assert find_sleeping_processes("7013") == []


async def test_a_job_canceled_before_its_script_started_runs_no_after_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.job_status = "canceling"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, steps=[{"name": "script", "script": ["echo so"]}, AFTER_SCRIPT_STEP])
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "failed"
    assert [line for line in gitlab.log_text(1).splitlines() if line in ("so", "after canceled")] == []


async def test_after_script_is_stopped_when_the_job_is_already_canceled_on_the_server(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [{"name": "script", "script": ["sleep 7009"]}, AFTER_SCRIPT_STEP | {"script": ["sleep 7010"]}]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps=steps))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await eventually(lambda: find_sleeping_processes("7009"))
        gitlab.job_status = "canceling"
        await eventually(lambda: find_sleeping_processes("7010"))
        assert find_sleeping_processes("7009") == []
        gitlab.job_status = "canceled"
        await eventually(lambda: find_sleeping_processes("7010") == [])
    assert {state["state"] for state in gitlab.state_reports[1]} == {"running"}


async def test_a_cancel_during_after_script_does_not_change_the_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go_file = tmp_path / "go"
    script = [f"echo after $CI_JOB_STATUS; until [ -e {go_file} ]; do sleep 0.05; done; echo done"]
    steps = [{"name": "script", "script": ["true"]}, AFTER_SCRIPT_STEP | {"script": script}]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps=steps))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "after success" in gitlab.log_text(1))
        gitlab.job_status = "canceling"
        reported_states = len(gitlab.state_reports[1])
        await gitlab.wait_until(lambda: len(gitlab.state_reports[1]) > reported_states)
        go_file.touch()
        final = await gitlab.wait_for_final_state(1)
    assert final["state"] == "success"
    assert "done" in gitlab.log_text(1)
