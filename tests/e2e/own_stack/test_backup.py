"""Backup of a working system, and restore into an empty data folder."""

import base64
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient

from libs.messaging.nats_connection import connect
from libs.settings import Settings
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.log_consistency import Verdict, compare_with_logs
from tests.support.stacks.readable_state import read_everything, read_secret_values
from tests.support.stacks.running_stack import HEADRACE_COMMAND, SERVICES, RunningStack, running_stack
from tests.support.stacks.scene_setup import create_clients, create_scene_variables
from tests.support.stacks.scenes import ScenePlayer, load_scenes
from tests.support.waiting import eventually, wait_until

pytestmark = pytest.mark.timeout(600)

BACKUP_KEY = "a passphrase of the operator"
SHORT_TIMEOUTS = {"HEADRACE_LONG_POLL_SECONDS": "2", "HEADRACE_JOB_LEASE_SECONDS": "3"}


@dataclass
class BackedUp:
    """A system that was backed up, and the data that the restored system must have.

    `quiet.backup` contains `streams`, `seen` and `values`. In the nightly run, `busy.backup` contains `acknowledged`.
    """

    folder: Path
    streams: Sequence[str] = ()
    seen: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    mail_count: int = 0
    acknowledged: list[int] = field(default_factory=list)  # ids of builds launched before the second backup started
    running: str = ""  # executor id of a build whose job ran during the backup

    def new_folder(self, name: str) -> Path:
        """Create a data folder that contains what a backup omits: master key, admin password and agent token."""
        old, new = self.folder / "old", self.folder / name
        (new / "secrets").mkdir(parents=True)
        for secret in ("master-key", "admin-password"):
            shutil.copy(old / "secrets" / secret, new / "secrets")
        (new / "agent").mkdir()
        shutil.copy(old / "agent" / "config.json", new / "agent")
        return new


def list_streams(stack: RunningStack) -> list[str]:
    with MongoClient[dict[str, Any]](stack.mongodb_url) as client:
        return [stream for name in SERVICES for stream in client[f"headrace_{name}"]["streams"].distinct("_id")]


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory, mail_server: MailServer) -> BackedUp:
    """Use a system and back it up. The nightly run makes a second backup while builds are launched."""
    folder = tmp_path_factory.mktemp("backup")
    backed_up = BackedUp(folder)
    gate = Gate(folder / "gate")
    with running_stack(folder / "old", replicas=1, environment=mail_server.environment | SHORT_TIMEOUTS) as stack:
        clients, variables = create_clients(stack), create_scene_variables(stack, folder)
        for scene in load_scenes(Path(__file__).parent / "scenes"):
            player = ScenePlayer(clients, dict(variables))
            for line in scene.calls:
                player.perform(line)
        failing = stack.create_project(create_sample_repository(folder / "failing", {"build": "exit 3"}))
        assert stack.run_build(failing)["exit_code"] == 3
        held = stack.create_project(create_sample_repository(folder / "held", {"build": f"echo up\n{gate.script}"}))
        repeated = stack.create_project(create_sample_repository(folder / "repeated"))
        wait_until(lambda: stack.admin.get("/developer/builds/executeds").json() == [])
        backed_up.streams = list_streams(stack)
        backed_up.values = read_secret_values(stack, backed_up.streams)
        backed_up.seen = read_everything(stack, backed_up.streams)
        backed_up.token = str(stack.admin.headers["Authorization"])
        backed_up.mail_count = wait_until(lambda: len(mail_server.messages))
        stack.run_headrace("backup", str(folder / "quiet.backup"))

        if os.environ.get("HEADRACE_NIGHTLY"):
            backed_up.running = stack.launch_build(held)
            wait_until(lambda: "up" in stack.read_live_log(backed_up.running, "build").get("log", ""))
            with launching_builds(stack, repeated) as launched:
                wait_until(lambda: len(launched) > 10)
                backed_up.acknowledged = list(launched)
                stack.run_headrace("backup", str(folder / "busy.backup"), HEADRACE_BACKUP_KEY=BACKUP_KEY)
            backed_up.acknowledged.append(stack.build_id_of(backed_up.running))
    gate.open()
    return backed_up


@contextmanager
def launching_builds(stack: RunningStack, project_id: int) -> Iterator[list[int]]:
    """Launch builds one after another in a thread. Yield the growing list of acknowledged build ids."""
    stop, launched = threading.Event(), list[int]()

    def launch() -> None:
        while not stop.is_set():
            launched.append(stack.build_id_of(stack.launch_build(project_id)))

    thread = threading.Thread(target=launch)
    thread.start()
    try:
        yield launched
    finally:
        stop.set()
        thread.join()


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
    with running_stack(folder, replicas=1, environment=mail_server.environment | SHORT_TIMEOUTS) as stack:
        yield stack
        assert stack.list_logged_errors() == []


@pytest.fixture(scope="module")
def restored_stack(backed_up: BackedUp, mail_server: MailServer) -> Iterator[RunningStack]:
    with restored(backed_up, "quiet", mail_server) as stack:
        yield stack


@pytest.fixture(scope="module")
def busy_restored_stack(
    backed_up: BackedUp, restored_stack: RunningStack, mail_server: MailServer
) -> Iterator[RunningStack]:
    with restored(backed_up, "busy", mail_server, HEADRACE_BACKUP_KEY=BACKUP_KEY) as stack:
        yield stack


async def test_a_restored_system_matches_its_log_and_repeats_no_side_effects(
    restored_stack: RunningStack, backed_up: BackedUp, mail_server: MailServer
) -> None:
    verdict = Verdict()
    await compare_with_logs(restored_stack, verdict)
    await wait_until_consumers_are_idle(restored_stack)
    assert verdict == Verdict()
    assert list_streams(restored_stack) == backed_up.streams
    assert len(mail_server.messages) == backed_up.mail_count


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


def test_restore_rejects_a_wrong_master_key_before_writing_anything(backed_up: BackedUp, tmp_path: Path) -> None:
    other = {"HEADRACE_MASTER_KEY": base64.b64encode(bytes(32)).decode()}
    result = run_headrace(tmp_path / "new", "restore", str(backed_up.folder / "quiet.backup"), **other)
    assert (result.returncode, "HEADRACE_MASTER_KEY does not contain" in result.stderr) == (1, True)
    assert not (tmp_path / "new" / "mongodb" / "WiredTiger").exists()


async def wait_until_consumers_are_idle(stack: RunningStack) -> None:
    """Wait until no durable consumer has pending or unacknowledged events."""
    nats = await connect(Settings(nats_url=stack.nats_url), "test")
    try:

        async def are_idle() -> bool:
            consumers = [consumer for name in SERVICES for consumer in await nats.jetstream().consumers_info(name)]
            return all(
                not consumer.num_pending and not consumer.num_ack_pending
                for consumer in consumers
                if consumer.config.durable_name
            )

        await eventually(are_idle, within=60)
    finally:
        await nats.close()
