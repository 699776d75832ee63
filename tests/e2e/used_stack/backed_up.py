"""Backups of a running stack, and the data that a restored stack must have."""

import asyncio
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pymongo import MongoClient

from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.log_consistency import wait_until_settled
from tests.support.stacks.readable_state import read_everything, read_secret_values
from tests.support.stacks.running_stack import SERVICES, RunningStack
from tests.support.waiting import wait_until

BACKUP_KEY = "a passphrase of the operator"


@dataclass
class BackedUp:
    """A stack that was backed up, and its data at that time.

    The file `quiet.backup` is made while the stack is idle: it contains `streams`, `seen` and `values`. The file
    `busy.backup`, made in nightly runs only, contains `acknowledged`.
    """

    data: Path
    folder: Path
    streams: Sequence[str]
    seen: dict[str, Any]
    values: dict[str, Any]
    token: str
    acknowledged: list[int] = field(default_factory=list)  # ids of the builds launched before the second backup started
    running: str = ""  # executor id of the build whose job ran during the second backup

    def new_folder(self, name: str) -> Path:
        """Create a data folder with what a backup omits: master key, administrator password and agent configuration."""
        new = self.folder / name
        (new / "secrets").mkdir(parents=True)
        for secret in ("master-key", "admin-password"):
            shutil.copy(self.data / "secrets" / secret, new / "secrets")
        (new / "agent").mkdir()
        shutil.copy(self.data / "agent" / "config.json", new / "agent")
        return new


def list_streams(stack: RunningStack) -> list[str]:
    with MongoClient[dict[str, Any]](stack.mongodb_url) as client:
        return [stream for name in SERVICES for stream in client[f"headrace_{name}"]["streams"].distinct("_id")]


def back_up(stack: RunningStack, mail_server: MailServer, folder: Path) -> BackedUp:
    """Run a failing build, wait until the stack is idle, and back up the stack."""
    failing = stack.create_project(create_sample_repository(folder / "failing", {"build": "exit 3"}))
    assert stack.run_build(failing)["exit_code"] == 3
    wait_until(lambda: stack.admin.get("/developer/builds/executeds").json() == [])
    wait_until(lambda: mail_server.messages)
    asyncio.run(wait_until_settled(stack))
    streams = list_streams(stack)
    values = read_secret_values(stack, streams)
    seen = read_everything(stack, streams)
    stack.run_headrace("backup", str(folder / "quiet.backup"))
    return BackedUp(stack.data, folder, streams, seen, values, str(stack.admin.headers["Authorization"]))


def back_up_under_load(stack: RunningStack, backed_up: BackedUp) -> None:
    folder = backed_up.folder
    gate = Gate(folder / "gate")
    held = stack.create_project(create_sample_repository(folder / "held", {"build": f"echo up\n{gate.script}"}))
    repeated = stack.create_project(create_sample_repository(folder / "repeated"))
    backed_up.running = stack.launch_build(held)
    wait_until(lambda: "up" in stack.read_live_log(backed_up.running, "build").get("log", ""))
    with launching_builds(stack, repeated) as launched:
        wait_until(lambda: len(launched) > 10)
        backed_up.acknowledged = list(launched)
        stack.run_headrace("backup", str(folder / "busy.backup"), HEADRACE_BACKUP_KEY=BACKUP_KEY)
    backed_up.acknowledged.append(stack.build_id_of(backed_up.running))
    gate.open()


@contextmanager
def launching_builds(stack: RunningStack, project_id: int) -> Iterator[list[int]]:
    """Launch builds one after another in a thread. Yield their ids in a list that grows."""
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
