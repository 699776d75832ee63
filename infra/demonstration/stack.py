"""The stack that the demonstration runs on: the one that runs on its data folder, or its own, on a free port."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from infra.demonstration.screen import Screen
from infra.local import control, ports
from infra.local.folder import DataFolder
from infra.local.process import StackError
from infra.local.state import StackState, supervisor_of
from libs.settings import Settings

FOLDER = ".headrace/demo"
USUAL_PORT = 8080
PATIENCE = 90.0  # seconds for a stack that somebody else is starting


class Ended(Exception):
    """The stack could not start; it has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class Stack:
    url: str
    stays: bool  # after the demonstration


@contextmanager
def running_stack(screen: Screen, *, keep: bool) -> Iterator[Stack]:
    """Stops what it started, however the block ends, unless it is to be kept."""
    os.environ.setdefault("HEADRACE_DATA", FOLDER)
    folder = control.data_folder()
    if supervisor_of(folder) is not None:
        screen.say(f"A stack runs on {folder.path} already; it is used, and left running.")
        yield Stack(_ready(folder), stays=True)
        return
    if not os.environ.get("HEADRACE_PORT"):
        port = ports.free_port() if ports.is_taken("127.0.0.1", USUAL_PORT) else USUAL_PORT
        os.environ["HEADRACE_PORT"] = str(port)
    screen.title("A whole stack: MongoDB, NATS, five services, the gateway and an agent, each a process of its own")
    kept = False
    with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
        try:
            if status := control.start_detached():
                raise Ended(status)
            yield Stack(_ready(folder), stays=keep)
            kept = keep
        finally:
            if not kept and supervisor_of(folder) is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C would leave half of it
                screen.calm()
                screen.say("Stopping the stack ...")
                screen.say(control.stop())


def _ready(folder: DataFolder) -> str:
    """Its address, once everything is up."""
    deadline = time.monotonic() + PATIENCE
    while (state := StackState.read(folder)) is None or not state.ready:
        if supervisor_of(folder) is None or time.monotonic() > deadline:
            raise StackError(f"The stack on {folder.path} does not become ready; see `headrace status`.")
        time.sleep(0.1)
    return state.url


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Be told to end in any way, end as by Ctrl-C."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def administrator(settings: Settings) -> tuple[str, str]:
    folder = DataFolder(settings.data)
    return settings.admin_username, settings.admin_password or folder.secret("admin-password")
