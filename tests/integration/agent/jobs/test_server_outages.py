"""Logs and results survive lost data, restarts and outages of the server."""

from base64 import b64decode
from pathlib import Path

from tests.integration.agent.agent_runs import agent_config, job_payload, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer


async def test_the_agent_resends_the_part_of_the_log_that_the_server_lost(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo first", "sleep 1.3", "echo second"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "first" in gitlab.log_text(1))
        gitlab.truncate_log_at = 10
        final = await gitlab.wait_for_final_state(1)
    assert gitlab.log_text(1).count("first\nsecond\n") == 1
    assert final["output"] == gitlab.checksum(1)


async def test_the_agent_resends_the_log_after_a_checksum_mismatch_and_retries_a_final_state(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.final_state_statuses = [412, 202, 500, 200]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat greeting"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: gitlab.state_reports[1] and not gitlab.final_state_statuses)
    assert gitlab.log_text(1).count("good morning") == 1
    assert [state["state"] for state in gitlab.state_reports[1]] == ["running", *["success"] * 4]
    assert gitlab.state_reports[1][-1]["output"] == gitlab.checksum(1)


async def test_the_rest_of_the_log_is_sent_with_the_result_if_the_server_accepts_that(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat greeting", features={"log_end": True}))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert gitlab.log_text(1).count("good morning") == 1
    assert final["output"] == gitlab.checksum(1)
    assert b64decode(final["log_end"]["content"]).endswith(b"Job succeeded\n")


async def test_the_log_is_sent_alone_after_a_result_with_its_rest_failed(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.final_state_statuses = [422, 200]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "cat greeting", features={"log_end": True}))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: gitlab.state_reports[1] and not gitlab.final_state_statuses)
    assert gitlab.state_reports[1][-1].keys() & {"output", "log_end"} == {"output"}
    assert gitlab.state_reports[1][-1]["output"] == gitlab.checksum(1)


async def test_a_server_restart_during_a_job_loses_neither_log_nor_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go_file = tmp_path / "go"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "echo first", f"until [ -e {go_file} ]; do sleep 0.1; done", "echo last")
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "first" in gitlab.log_text(1))
        await gitlab.restart(go_file.touch)
        final = await gitlab.wait_for_final_state(1)
    assert "first\nlast\nJob succeeded\n" in gitlab.log_text(1)
    assert final["state"] == "success"
    assert final["output"] == gitlab.checksum(1)


async def test_a_long_server_outage_loses_neither_log_nor_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go_file = tmp_path / "go"
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "echo first", f"until [ -e {go_file} ]; do sleep 0.1; done", "seq 5000")
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "first" in gitlab.log_text(1))
        go_file.touch()
        await gitlab.simulate_outage(attempts=6)
        final = await gitlab.wait_for_final_state(1)
        gitlab.pending_jobs.put_nowait(job_payload(2, repository, "cat greeting"))
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
    assert "4999\n5000\nJob succeeded\n" in gitlab.log_text(1)
    assert (final["state"], final["output"]) == ("success", gitlab.checksum(1))
