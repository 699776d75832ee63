"""The stack that the demonstration runs on: the one that runs on its data folder, or its own, on a free port."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from infra.demo.ui import Ui
from infra.local import ports, stack_commands
from infra.local.data_folder import DataFolder
from infra.local.process import OperatorError
from infra.local.stack_state import StackState, find_supervisor
from libs.settings import Settings

DEMO_FOLDER = ".headrace/demo"
DEFAULT_PORT = 8080
START_TIMEOUT_SECONDS = 90.0  # seconds for a stack that somebody else is starting


class StartFailed(Exception):
    """The stack could not start; it has said why."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class DemoStack:
    url: str
    keeps_running: bool  # after the demonstration


@contextmanager
def run_demo_stack(ui: Ui, *, keep: bool) -> Iterator[DemoStack]:
    """Stops what it started, however the block ends, unless it is to be kept."""
    os.environ.setdefault("HEADRACE_DATA", DEMO_FOLDER)
    folder = stack_commands.get_data_folder()
    if find_supervisor(folder) is not None:
        ui.show_text(f"A stack runs on {folder.path} already; it is used, and left running.")
        yield DemoStack(_wait_until_ready(folder), keeps_running=True)
        return
    if not os.environ.get("HEADRACE_PORT"):
        port = ports.find_free_port() if ports.is_taken("127.0.0.1", DEFAULT_PORT) else DEFAULT_PORT
        os.environ["HEADRACE_PORT"] = str(port)
    ui.show_title("A whole stack: MongoDB, NATS, five services, the gateway and an agent, each a process of its own")
    kept = False
    with _interrupt_on(signal.SIGTERM, signal.SIGHUP):
        try:
            if status := stack_commands.start_detached():
                raise StartFailed(status)
            yield DemoStack(_wait_until_ready(folder), keeps_running=keep)
            kept = keep
        finally:
            if not kept and find_supervisor(folder) is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # an impatient second Ctrl-C would leave half of it
                ui.stop_spinner()
                ui.show_text("Stopping the stack ...")
                ui.show_text(stack_commands.stop_stack())


def _wait_until_ready(folder: DataFolder) -> str:
    """Its address, once everything is up."""
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while (state := StackState.read(folder)) is None or not state.ready:
        if find_supervisor(folder) is None or time.monotonic() > deadline:
            raise OperatorError(f"The stack on {folder.path} does not become ready; see `headrace status`.")
        time.sleep(0.1)
    return state.url


@contextmanager
def _interrupt_on(*numbers: signal.Signals) -> Iterator[None]:
    """Be told to end in any way, end as by Ctrl-C."""

    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def get_admin_login(settings: Settings) -> tuple[str, str]:
    folder = DataFolder(settings.data)
    return settings.admin_username, settings.admin_password or folder.secret("admin-password")
