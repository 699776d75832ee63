"""Scripts of jobs: shell, checkout, steps, variables, masking and unusable jobs. Real git and real processes."""

import errno
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent import runner
from tests.integration.agent.agent_runs import agent_config, head_sha, job_payload, job_variable, running_agent
from tests.support.in_process.fake_gitlab import FakeGitLabServer


async def test_a_script_runs_in_bash_with_pipefail_if_bash_is_available(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ("[[ $CI_SERVER == y* ]] && echo in bash", "cat missing | sort", "echo not reached")
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["failure_reason"], final["exit_code"]) == ("script_failure", 1)
    assert "in bash" in gitlab.log_text(1)
    assert "not reached" not in gitlab.log_text(1)


async def test_a_job_runs_in_a_fresh_checkout_and_reports_its_log_and_result(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(
        job_payload(1, repository, "cat greeting", "git rev-parse HEAD", "pwd; echo $CI_PROJECT_DIR")
    )
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    lines = gitlab.log_text(1).splitlines()
    assert lines[0].startswith("Running with headrace-agent")
    assert lines[1:5] == [
        f"Cloning {repository}",
        f"Checking out {head_sha(repository)[:8]} as detached HEAD (ref is main)",
        "good morning",
        head_sha(repository),
    ]
    assert lines[5] == lines[6]
    assert final["state"] == "success"
    assert final["output"] == gitlab.checksum(1)
    assert gitlab.state_reports[1][0]["state"] == "running"
    assert list((tmp_path / "builds").iterdir()) == []


async def test_a_failing_script_stops_at_the_failing_line_and_reports_its_exit_code(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo before", "sh -c 'exit 42'", "echo after"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert (final["state"], final["failure_reason"], final["exit_code"]) == ("failed", "script_failure", 42)
    assert "before" in gitlab.log_text(1)
    assert "after" not in gitlab.log_text(1)


async def test_later_steps_run_only_when_their_condition_holds(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    steps = [
        {"name": "lint", "script": ["exit 5"], "allow_failure": True},
        {"name": "script", "script": ["exit 3"]},
        {"name": "publish", "script": ["echo published"], "when": "on_success"},
        {"name": "explain", "script": ["echo explained $CI_JOB_STATUS"], "when": "on_failure"},
        {"name": "after_script", "script": ["echo cleaned $CI_JOB_STATUS; exit 9"], "when": "always"},
    ]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps=steps))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["exit_code"] == 3
    assert "published" not in gitlab.log_text(1)
    assert "explained failed" in gitlab.log_text(1)
    assert "cleaned failed" in gitlab.log_text(1)


async def test_a_value_written_in_two_pieces_is_masked_in_the_log(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    script = ["printf 'see swordfi'", "sleep 1.3", "echo 'sh-2000 there'", "printf %s $WORD | base64"]
    variables = [job_variable("WORD", "swordfish-2000", masked=True)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert "see [MASKED] there\n[MASKED]\n" in gitlab.log_text(1)
    assert len(gitlab.trace_ranges) > 1


async def test_file_variables_are_private_files_and_jobs_do_not_inherit_the_agents_environment(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AGENT_ONLY", "not-for-jobs")
    variables = [job_variable("NOTE", "two\nlines", file=True), job_variable("PLAIN", "a $HOME 'b'", raw=True)]
    script = ["cat $NOTE; echo", "stat -c %a $NOTE", 'echo "$PLAIN"', "env"]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, *script, variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        await gitlab.wait_for_final_state(1)
    assert "two\nlines\n600\na $HOME 'b'\n" in gitlab.log_text(1)
    assert "not-for-jobs" not in gitlab.log_text(1)


async def test_four_slots_run_four_jobs_at_once(gitlab: FakeGitLabServer, repository: Path, tmp_path: Path) -> None:
    meeting_folder = tmp_path / "meeting"
    meeting_folder.mkdir()
    wait_for_all = f"touch {meeting_folder}/$N; until [ $(ls {meeting_folder} | wc -l) = 4 ]; do sleep 0.05; done"
    for number in range(4):
        gitlab.pending_jobs.put_nowait(
            job_payload(number, repository, wait_for_all, variables=[job_variable("N", str(number))])
        )
    async with running_agent(agent_config(gitlab, tmp_path, concurrency=4)):
        finals = [await gitlab.wait_for_final_state(number) for number in range(4)]
    assert [final["state"] for final in finals] == ["success"] * 4


async def test_a_job_that_cannot_be_parsed_is_reported_as_failed_and_the_next_job_runs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, steps="nonsense"))
    gitlab.pending_jobs.put_nowait(job_payload(2, repository, "cat greeting"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        assert (await gitlab.wait_for_final_state(1))["failure_reason"] == "runner_system_failure"
        assert (await gitlab.wait_for_final_state(2))["state"] == "success"


async def test_a_job_without_disk_space_is_reported_as_failed_and_the_next_job_runs(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make: Callable[..., str] = tempfile.mkdtemp

    def mkdtemp(**wanted: Any) -> str:
        if wanted["prefix"].startswith("job-1-"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(**wanted)

    monkeypatch.setattr(tempfile, "mkdtemp", mkdtemp)
    monkeypatch.setattr(runner, "DISK_FULL_DELAY_SECONDS", 0)
    for number in (1, 2):
        gitlab.pending_jobs.put_nowait(job_payload(number, repository, "true"))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = [await gitlab.wait_for_final_state(number) for number in (1, 2)]
    assert [(state["state"], state.get("failure_reason")) for state in final] == [
        ("failed", "runner_system_failure"),
        ("success", None),
    ]


async def test_a_variable_too_large_for_the_environment_fails_the_job(
    gitlab: FakeGitLabServer, repository: Path, tmp_path: Path
) -> None:
    variables = [job_variable("HUGE", "x" * 200_000)]
    gitlab.pending_jobs.put_nowait(job_payload(1, repository, "echo never", variables=variables))
    async with running_agent(agent_config(gitlab, tmp_path)):
        final = await gitlab.wait_for_final_state(1)
    assert final["failure_reason"] == "runner_system_failure"
    assert "Argument list too long" in gitlab.log_text(1)
