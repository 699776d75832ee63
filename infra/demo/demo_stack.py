"""The stack of the demo: the one that already runs on the data folder, or a new one."""

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
START_TIMEOUT_SECONDS = 90.0  # maximum wait for a stack that another process starts


class StartFailed(Exception):
    """The stack could not start. The reason has been printed. `status`: exit status of the supervisor."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


@dataclass(frozen=True, slots=True)
class DemoStack:
    url: str
    keeps_running: bool


@contextmanager
def run_demo_stack(ui: Ui, *, keep: bool) -> Iterator[DemoStack]:
    """Yield the stack that runs on the data folder, or start one.

    A stack that was started is stopped after the block. With `keep`, it is stopped only if the block fails.
    """
    os.environ.setdefault("HEADRACE_DATA", DEMO_FOLDER)
    folder = stack_commands.get_data_folder()
    if find_supervisor(folder) is not None:
        ui.show_text(f"Using the stack that runs on {folder.path}; it is left running.")
        yield DemoStack(_wait_until_ready(folder), keeps_running=True)
        return
    if not os.environ.get("HEADRACE_PORT"):
        port = ports.find_free_port() if ports.is_taken("127.0.0.1", DEFAULT_PORT) else DEFAULT_PORT
        os.environ["HEADRACE_PORT"] = str(port)
    ui.show_title("Starting MongoDB, NATS, five services, the gateway and an agent")
    completed = False
    with _interrupt_on(signal.SIGTERM, signal.SIGHUP):
        try:
            if status := stack_commands.start_detached():
                raise StartFailed(status)
            yield DemoStack(_wait_until_ready(folder), keeps_running=keep)
            completed = True
        finally:
            if not (completed and keep) and find_supervisor(folder) is not None:
                signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C would leave processes running
                ui.stop_spinner()
                ui.show_text("Stopping the stack ...")
                ui.show_text(stack_commands.stop_stack())


def _wait_until_ready(folder: DataFolder) -> str:
    deadline = time.monotonic() + START_TIMEOUT_SECONDS
    while (state := StackState.read(folder)) is None or not state.ready:
        if find_supervisor(folder) is None or time.monotonic() > deadline:
            raise OperatorError(
                f"The stack on {folder.path} did not become ready. Check it with `headrace server status`."
            )
        time.sleep(0.1)
    return state.url


@contextmanager
def _interrupt_on(*numbers: signal.Signals) -> Iterator[None]:
    def interrupt(number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt(number)

    before = {number: signal.signal(number, interrupt) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def get_admin_login(settings: Settings) -> tuple[str, str]:
    folder = DataFolder(settings.data)
    return settings.admin_username, settings.admin_password or folder.secret("admin-password")
