"""A system that was backed up while it worked, and the one that a restore makes of an empty folder."""

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

from libs.messaging.request_reply import connect
from libs.settings import Settings
from tests.support import eventually
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.audit import Verdict, compare_with_logs
from tests.support.stacks.readable_state import read_everything, read_secret_values
from tests.support.stacks.running_stack import HEADRACE_COMMAND, SERVICES, RunningStack, running_stack, wait_until
from tests.support.stacks.scene_setup import create_clients, create_scene_variables
from tests.support.stacks.scenes import ScenePlayer, load_scenes

pytestmark = pytest.mark.timeout(600)

KEY = "a passphrase of the operator"
PATIENCE = {"HEADRACE_LONG_POLL_SECONDS": "2", "HEADRACE_JOB_LEASE_SECONDS": "3"}


@dataclass
class BackedUp:
    """What was known of the system before each of its two backups began."""

    folder: Path
    streams: Sequence[str] = ()
    seen: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    token: str = ""
    mails: int = 0
    acknowledged: list[int] = field(default_factory=list)  # builds, under load
    running: str = ""  # a build whose job ran while the backup was taken

    def new_folder(self, name: str) -> Path:
        """With what is no part of a backup: the master key, the local stack's password, the agent's token."""
        old, new = self.folder / "old", self.folder / name
        (new / "secrets").mkdir(parents=True)
        for secret in ("master-key", "admin-password"):
            shutil.copy(old / "secrets" / secret, new / "secrets")
        (new / "agent").mkdir()
        shutil.copy(old / "agent" / "config.json", new / "agent")
        return new


def streams_of(stack: RunningStack) -> list[str]:
    with MongoClient[dict[str, Any]](stack.mongodb_url) as client:
        return [one for name in SERVICES for one in client[f"headrace_{name}"]["streams"].distinct("_id")]


@pytest.fixture(scope="module")
def backed_up(tmp_path_factory: pytest.TempPathFactory, mails: MailServer) -> BackedUp:
    folder = tmp_path_factory.mktemp("backup")
    past = BackedUp(folder)
    gate = Gate(folder / "gate")
    with running_stack(folder / "old", replicas=1, environment=mails.environment | PATIENCE) as stack:
        clients, kept = create_clients(stack), create_scene_variables(stack, folder)
        for scene in load_scenes(Path(__file__).parent / "scenes"):
            play = ScenePlayer(clients, dict(kept))
            for line in scene.calls:
                play.perform(line)
        failing = stack.create_project(create_sample_repository(folder / "failing", {"build": "exit 3"}))
        assert stack.run_build(failing)["exit_code"] == 3
        held = stack.create_project(create_sample_repository(folder / "held", {"build": f"echo up\n{gate.script}"}))
        busy = stack.create_project(create_sample_repository(folder / "busy"))
        wait_until(lambda: stack.admin.get("/developer/builds/executeds").json() == [])
        past.streams = streams_of(stack)
        past.values = read_secret_values(stack, past.streams)
        past.seen = read_everything(stack, past.streams)
        past.token = str(stack.admin.headers["Authorization"])
        past.mails = wait_until(lambda: len(mails.messages))
        stack.run_headrace("backup", str(folder / "quiet.backup"))

        past.running = stack.launch_build(held)
        wait_until(lambda: "up" in stack.read_live_log(past.running, "build").get("log", ""))
        with launching(stack, busy) as launched:
            wait_until(lambda: len(launched) > 10)
            past.acknowledged = list(launched)
            stack.run_headrace("backup", str(folder / "busy.backup"), HEADRACE_BACKUP_KEY=KEY)
        past.acknowledged.append(stack.build_id_of(past.running))
    gate.open()
    return past


@contextmanager
def launching(stack: RunningStack, project_id: int) -> Iterator[list[int]]:
    """The numbers of builds that were launched and acknowledged, one after the other."""
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


def headrace(data: Path, *command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return subprocess.run(
        (*HEADRACE_COMMAND, *command, "--data", str(data)),
        env=foreign | environ,
        capture_output=True,
        text=True,
        timeout=120,
    )


@contextmanager
def restored(past: BackedUp, name: str, mails: MailServer, **environ: str) -> Iterator[RunningStack]:
    folder = past.new_folder(name)
    done = headrace(folder, "restore", str(past.folder / f"{name}.backup"), **environ)
    assert done.returncode == 0, done.stderr
    with running_stack(folder, replicas=1, environment=mails.environment | PATIENCE) as stack:
        yield stack
        assert stack.list_logged_errors() == []


@pytest.fixture(scope="module")
def quiet(backed_up: BackedUp, mails: MailServer) -> Iterator[RunningStack]:
    with restored(backed_up, "quiet", mails) as stack:
        yield stack


@pytest.fixture(scope="module")
def busy(backed_up: BackedUp, quiet: RunningStack, mails: MailServer) -> Iterator[RunningStack]:
    with restored(backed_up, "busy", mails, HEADRACE_BACKUP_KEY=KEY) as stack:
        yield stack


async def test_a_restored_system_matches_its_log_and_repeats_no_side_effects(
    quiet: RunningStack, backed_up: BackedUp, mails: MailServer
) -> None:
    verdict = Verdict()
    await compare_with_logs(quiet, verdict)
    await worked_off(quiet)
    assert verdict == Verdict()
    assert streams_of(quiet) == backed_up.streams
    assert len(mails.messages) == backed_up.mails


def test_all_readable_data_is_the_same_after_a_restore(quiet: RunningStack, backed_up: BackedUp) -> None:
    seen = read_everything(quiet, backed_up.streams)
    assert {path: (seen[path], was) for path, was in backed_up.seen.items() if seen[path] != was} == {}


def test_encrypted_values_are_readable_after_a_restore(quiet: RunningStack, backed_up: BackedUp) -> None:
    assert read_secret_values(quiet, backed_up.streams) == backed_up.values


def test_access_tokens_stay_valid_after_a_restore(quiet: RunningStack, backed_up: BackedUp) -> None:
    with quiet.create_client(backed_up.token.removeprefix("Bearer ")) as client:
        assert client.get("/user/info").status_code == 200


def test_a_restored_system_runs_builds(quiet: RunningStack, tmp_path: Path) -> None:
    assert quiet.run_build(quiet.create_project(create_sample_repository(tmp_path / "repository")))["exit_code"] == 0


def test_a_backup_under_load_contains_every_earlier_acknowledged_build(busy: RunningStack, backed_up: BackedUp) -> None:
    found = [busy.admin.get(f"/developer/builds/{one}").status_code for one in backed_up.acknowledged]
    assert found == [200] * len(backed_up.acknowledged)


async def test_a_backup_under_load_is_consistent(busy: RunningStack, backed_up: BackedUp) -> None:
    wait_until(lambda: busy.admin.get("/developer/builds/executeds").json() == [], within=60)
    verdict = Verdict()
    await compare_with_logs(busy, verdict)
    assert verdict == Verdict()


def test_a_job_that_ran_during_the_backup_is_retried_after_the_restore(busy: RunningStack, backed_up: BackedUp) -> None:
    busy._builds[backed_up.running] = backed_up.acknowledged[-1]
    assert busy.wait_until_finished(backed_up.running)["exit_code"] == 0
    [job] = busy.admin.get(f"/developer/builds/{backed_up.acknowledged[-1]}/jobs").json()
    history = busy.admin.get(f"/admin/history/job/{job['id']}").json()["entries"]
    names = [event["name"] for entry in history for event in entry["events"]]
    assert [name for name in names if name in ("JobAssigned", "JobLost", "JobFinished")] == [
        "JobAssigned",
        "JobLost",
        "JobAssigned",
        "JobFinished",
    ]


def test_a_running_system_cannot_be_restored_into(quiet: RunningStack, backed_up: BackedUp) -> None:
    done = quiet.run_headrace("restore", str(backed_up.folder / "quiet.backup"), check=False)
    assert (done.returncode, "stop all services first" in done.stderr) == (1, True)


def test_restore_rejects_a_wrong_master_key_before_writing_anything(backed_up: BackedUp, tmp_path: Path) -> None:
    other = {"HEADRACE_MASTER_KEY": base64.b64encode(bytes(32)).decode()}
    done = headrace(tmp_path / "new", "restore", str(backed_up.folder / "quiet.backup"), **other)
    assert (done.returncode, "HEADRACE_MASTER_KEY does not hold it" in done.stderr) == (1, True)
    assert not (tmp_path / "new" / "mongodb" / "WiredTiger").exists()


async def worked_off(stack: RunningStack) -> None:
    """All workers have looked at all events."""
    nats = await connect(Settings(nats_url=stack.nats_url), "test")
    try:

        async def nothing_left() -> bool:
            found = [one for name in SERVICES for one in await nats.jetstream().consumers_info(name)]
            return all(not one.num_pending and not one.num_ack_pending for one in found if one.config.durable_name)

        await eventually(nothing_left, within=60)
    finally:
        await nats.close()
