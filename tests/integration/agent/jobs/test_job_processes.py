"""Processes of jobs: a job leaves no process behind, even if its script detaches processes."""

import os
import signal
import subprocess
from pathlib import Path

from agent.processes.process_cleanup import find_session_members, find_sessions
from tests.integration.agent.agent_runs import agent_config, find_sleeping_processes, job_payload, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer, read_command_lines
from tests.support.waiting import eventually


async def test_a_job_timeout_kills_the_whole_process_group_of_the_script(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["trap '' TERM", "sleep 7001 & (trap '' TERM; sleep 7001; sleep 7001) &", "echo up", "sleep 7001"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, runner_info={"timeout": 1}))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert find_sleeping_processes("7001") == []
    assert (final["state"], final["failure_reason"]) == ("failed", "job_execution_timeout")
    assert "exit_code" not in final
    assert "time limit exceeded" in gitlab.log_text(1)


async def test_background_processes_that_hold_the_output_pipe_do_not_block_the_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["sleep 7002 &", "setsid -f sleep 7002", "echo done"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
        await eventually(lambda: find_sleeping_processes("7002") == [])
    assert final["state"] == "success"


DETACHED_PROCESSES = (  # both clear their environment, and the first ignores SIGTERM; the last line waits for them
    "env -i setsid sh -c 'trap \"\" TERM; sleep 7011; sleep 7011' &",
    "(setsid sh -c 'env -i setsid sleep 7011 & exit' &)",
    "until [ $(pgrep -fc 'sleep 701[1]') -ge 3 ]; do sleep 0.05; done",
)


async def test_a_job_timeout_kills_detached_processes_too(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, *DETACHED_PROCESSES, "echo up; sleep 7011", runner_info={"timeout": 3})
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_until(lambda: "up" in gitlab.log_text(1))
        final = await gitlab.wait_for_final_state(1)
        assert find_sleeping_processes("7011") == []
    assert final["failure_reason"] == "job_execution_timeout"


async def test_a_finished_job_leaves_no_processes_and_does_not_affect_a_concurrent_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    go_file = tmp_path / "go"
    concurrent_script = (
        "setsid sleep 7012 &",
        f"until [ -e {go_file} ]; do sleep 0.05; done",
        "pgrep -f 'sleep 701[2]'",
    )
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *concurrent_script))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, *DETACHED_PROCESSES))
    async with running_agent(agent_config(gitlab, tmp_path, concurrency=2)):
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"
        assert find_sleeping_processes("7011") == []
        go_file.touch()
        assert (await gitlab.wait_for_final_state(1))["state"] == "success"


async def test_a_script_that_kills_its_supervisor_leaves_no_process(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["setsid sleep 7013 &", "kill -KILL $PPID; sleep 7013"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script))
    async with running_agent(agent_config(gitlab, tmp_path)):
        assert (await gitlab.wait_for_final_state(1))["state"] == "failed"
        await eventually(lambda: find_sleeping_processes("7013") == [])


async def test_the_agent_recovers_when_its_process_spawner_is_killed(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "true"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
        builds = str(tmp_path / "builds")
        lines = read_command_lines()
        [spawner] = [process for process, line in lines.items() if builds in line and "import serve" in line]
        os.kill(spawner, signal.SIGKILL)
        gitlab.pending_jobs.put_nowait(job_payload(2, repository, "true"))
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"


async def test_only_processes_of_the_run_folder_are_found_for_clean_up(tmp_path: Path) -> None:
    inside = os.environ | {"CI_PROJECT_DIR": f"{tmp_path}/run-1/job-1/checkout"}
    with subprocess.Popen(["sleep", "7007"], env=inside, start_new_session=True) as process:  # noqa: ASYNC220
        # a process that is just starting has an empty environment
        await eventually(lambda: find_session_members(find_sessions(tmp_path / "run-1")) == [process.pid])
        elsewhere = find_session_members(find_sessions(tmp_path / "run"))
        process.kill()
    assert elsewhere == []
