"""Backup of a stack in use, and restore into an empty data folder."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.used_stack.backed_up import BACKUP_KEY, BackedUp, list_streams
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.log_consistency import Verdict, compare_with_logs, wait_until_settled
from tests.support.stacks.readable_state import read_everything, read_secret_values
from tests.support.stacks.running_stack import HEADRACE_COMMAND, RunningStack, running_stack
from tests.support.waiting import wait_until

pytestmark = pytest.mark.timeout(600)

SHORT_TIMEOUTS = {"HEADRACE_LONG_POLL_SECONDS": "2", "HEADRACE_JOB_LEASE_SECONDS": "3"}


def run_headrace(data: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.run(
        (*HEADRACE_COMMAND, *command, "--data", str(data)),
        env=foreign | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def restored(backed_up: BackedUp, name: str, mail_server: MailServer, **environ: str) -> Iterator[RunningStack]:
    folder = backed_up.new_folder(name)
    result = run_headrace(folder, "restore", str(backed_up.folder / f"{name}.backup"), **environ)
    assert result.returncode == 0, result.stderr
    with running_stack(folder, environment=mail_server.environment | SHORT_TIMEOUTS) as stack:
        yield stack
        assert stack.list_logged_errors() == []


@pytest.fixture(scope="module")
def mails_before_restore(backed_up: BackedUp, mail_server: MailServer) -> int:
    return len(mail_server.messages)


@pytest.fixture(scope="module")
def restored_stack(backed_up: BackedUp, mails_before_restore: int, mail_server: MailServer) -> Iterator[RunningStack]:
    with restored(backed_up, "quiet", mail_server) as stack:
        yield stack


@pytest.fixture(scope="module")
def busy_restored_stack(
    backed_up: BackedUp, restored_stack: RunningStack, mail_server: MailServer
) -> Iterator[RunningStack]:
    with restored(backed_up, "busy", mail_server, HEADRACE_BACKUP_KEY=BACKUP_KEY) as stack:
        yield stack


async def test_a_restored_system_matches_its_log_and_repeats_no_side_effects(
    mails_before_restore: int, restored_stack: RunningStack, backed_up: BackedUp, mail_server: MailServer
) -> None:
    verdict = Verdict()
    await wait_until_settled(restored_stack)
    await compare_with_logs(restored_stack, verdict)
    assert verdict == Verdict()
    assert list_streams(restored_stack) == backed_up.streams
    assert len(mail_server.messages) == mails_before_restore


def test_all_readable_data_is_the_same_after_a_restore(restored_stack: RunningStack, backed_up: BackedUp) -> None:
    current = read_everything(restored_stack, backed_up.streams)
    assert {path: (current[path], was) for path, was in backed_up.seen.items() if current[path] != was} == {}


def test_encrypted_values_are_readable_after_a_restore(restored_stack: RunningStack, backed_up: BackedUp) -> None:
    assert read_secret_values(restored_stack, backed_up.streams) == backed_up.values


def test_access_tokens_stay_valid_after_a_restore(restored_stack: RunningStack, backed_up: BackedUp) -> None:
    with restored_stack.create_client(backed_up.token.removeprefix("Bearer ")) as client:
        assert client.get("/user/info").status_code == 200


def test_a_restored_system_runs_builds(restored_stack: RunningStack, tmp_path: Path) -> None:
    assert (
        restored_stack.run_build(restored_stack.create_project(create_sample_repository(tmp_path / "repository")))[
            "exit_code"
        ]
        == 0
    )


@pytest.mark.nightly
def test_a_backup_under_load_contains_every_earlier_acknowledged_build(
    busy_restored_stack: RunningStack, backed_up: BackedUp
) -> None:
    statuses = [
        busy_restored_stack.admin.get(f"/developer/builds/{build_id}").status_code
        for build_id in backed_up.acknowledged
    ]
    assert statuses == [200] * len(backed_up.acknowledged)


@pytest.mark.nightly
async def test_a_backup_under_load_is_consistent(busy_restored_stack: RunningStack, backed_up: BackedUp) -> None:
    wait_until(lambda: busy_restored_stack.admin.get("/developer/builds/executeds").json() == [], within=60)
    verdict = Verdict()
    await compare_with_logs(busy_restored_stack, verdict)
    assert verdict == Verdict()


@pytest.mark.nightly
def test_a_job_that_ran_during_the_backup_is_retried_after_the_restore(
    busy_restored_stack: RunningStack, backed_up: BackedUp
) -> None:
    busy_restored_stack._builds[backed_up.running] = backed_up.acknowledged[-1]
    assert busy_restored_stack.wait_until_finished(backed_up.running)["exit_code"] == 0
    [job] = busy_restored_stack.admin.get(f"/developer/builds/{backed_up.acknowledged[-1]}/jobs").json()
    history = busy_restored_stack.admin.get(f"/admin/history/job/{job['id']}").json()["entries"]
    names = [event["name"] for entry in history for event in entry["events"]]
    assert [name for name in names if name in ("JobAssigned", "JobLost", "JobFinished")] == [
        "JobAssigned",
        "JobLost",
        "JobAssigned",
        "JobFinished",
    ]


def test_a_running_system_cannot_be_restored_into(restored_stack: RunningStack, backed_up: BackedUp) -> None:
    result = restored_stack.run_headrace("restore", str(backed_up.folder / "quiet.backup"), check=False)
    assert (result.returncode, "Stop all services first" in result.stderr) == (1, True)
