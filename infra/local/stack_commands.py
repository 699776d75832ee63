"""Control of the embedded stack from other processes: start, status, stop, and connection settings."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from infra.local.data_folder import DataFolder
from infra.local.nats_server import join_addresses, with_login
from infra.local.process import OperatorError
from infra.local.stack import PYTHON_COMMAND
from infra.local.stack_state import ProcessState, StackState, find_supervisor
from libs.settings import Settings, resolve_secret_files


def get_data_folder() -> DataFolder:
    return DataFolder(Settings.from_environment(os.environ).data)


def print_line(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def supervise(*, detached: bool, python: tuple[str, ...] = PYTHON_COMMAND) -> None:
    """Run the supervisor in this process until SIGTERM, SIGINT or SIGHUP.

    Raises OperatorError if the stack cannot start.
    """
    from infra.local.supervisor import Supervisor

    settings = Settings.from_environment(os.environ)
    welcome = welcome_message(settings)
    supervisor = Supervisor(settings, resolve_secret_files(os.environ), print_line, python)
    # A detached supervisor writes to a log file, which must not contain the password. `start_detached` prints the
    # welcome message instead.
    supervisor.run(announce=lambda: None if detached else print_line(welcome()))


def start_detached(python: tuple[str, ...] = PYTHON_COMMAND) -> int:
    """Start a detached supervisor and print its progress until the stack is ready.

    Return the exit status: 0 if the stack is ready, 130 after Ctrl-C, which stops it, or the supervisor's.
    """
    settings = Settings.from_environment(os.environ)
    folder = DataFolder(settings.data)
    folder.prepare()
    welcome = welcome_message(settings)
    log = folder.log("supervisor")
    with log.open("a") as output, log.open() as progress:
        progress.seek(0, os.SEEK_END)
        supervisor = subprocess.Popen(
            (*python, "supervise", "--detached"),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not _is_ready(folder, supervisor.pid):
                ended = supervisor.poll()
                sys.stdout.write(progress.read())
                sys.stdout.flush()
                if ended is not None:
                    return ended or 1
                time.sleep(0.05)
        except KeyboardInterrupt:
            supervisor.terminate()
            supervisor.wait()
            return 130
        sys.stdout.write(progress.read())
    print_line(welcome())
    supervisor.returncode = 0  # prevents a warning about a running child process
    return 0


def _is_ready(folder: DataFolder, supervisor: int) -> bool:
    state = StackState.read(folder)
    return state is not None and state.supervisor == supervisor and state.ready


def welcome_message(settings: Settings) -> Callable[[], str]:
    """Return a function that builds the welcome message.

    Call `welcome_message` before the stack starts, because it detects whether this is the first start.
    """
    folder = DataFolder(settings.data)
    first = not folder.agent_config.exists()

    def text() -> str:
        password_file = folder.path / "secrets" / "admin-password"
        proof = "with the password in HEADRACE_ADMIN_PASSWORD"
        if not settings.admin_password:
            proof = (
                f"password {password_file.read_text()}  (shown once, stored in {password_file})"
                if first and not _is_stdout_the_journal()
                else f"password stored in {password_file}"
            )
        return (
            f"\nHeadrace is up at {settings.url}\n"
            f"  API page   {settings.url}/api/docs\n"
            f"  sign in as {settings.admin_username}, {proof}\n"
            f"  logs       {folder.path / 'logs'}\n"
            f"  stop       headrace server down, or Ctrl-C in the foreground"
        )

    return text


def _is_stdout_the_journal() -> bool:
    """Return whether the standard output is systemd's journal, which keeps everything and has other readers."""
    status = os.fstat(1)
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def list_processes(folder: DataFolder) -> list[dict[str, Any]] | None:
    """Return name, pid, readiness and address of each process, or None if no stack runs on the folder."""
    state = StackState.read(folder)
    if state is None:
        return None
    with ThreadPoolExecutor(max_workers=16) as pool:
        ready = pool.map(ProcessState.is_ready, state.processes)
        return [
            {"name": each.name, "pid": each.pid, "ready": is_ready, "address": each.address}
            | ({"consumer_url": each.url} if each.name.startswith("nats-server") else {})
            for each, is_ready in zip(state.processes, ready, strict=True)
        ]


def stop_stack(timeout: float = 30) -> str:
    """Stop the stack, wait until it has ended, and return a message. Without a stack, only return a message.

    Raises OperatorError if the stack has not ended after `timeout` seconds.
    """
    folder = get_data_folder()
    supervisor = find_supervisor(folder)
    if supervisor is None:
        return f"No stack is running on {folder.path}."
    with suppress(ProcessLookupError):  # the supervisor has just exited
        os.kill(supervisor, signal.SIGTERM)
    deadline = time.monotonic() + timeout
    while find_supervisor(folder) == supervisor or _is_running(supervisor):
        if time.monotonic() > deadline:
            raise OperatorError(
                f"The supervisor (process {supervisor}) did not stop. Kill it with kill -9 {supervisor}."
            )
        time.sleep(0.05)
    return f"Stopped the stack on {folder.path}."


def _is_running(pid: int) -> bool:
    """Return whether the process runs. Always False on systems without `/proc`."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""  # empty for a zombie process
    except OSError:
        return False


def connect_to_stack(login: str) -> None:
    """Set missing HEADRACE_ variables to the URLs and the master key of the data folder's stack.

    Do nothing if no stack runs on the folder. `login`: NATS login.
    """
    folder = get_data_folder()
    state = StackState.read(folder)
    if state is None:
        return
    databases, brokers = state.servers("mongod"), state.servers("nats-server")
    variables = {
        "HEADRACE_MONGODB_URL": databases[0].url if databases else "",
        "HEADRACE_NATS_URL": with_login(join_addresses(each.address for each in brokers), folder, login)
        if brokers
        else "",
        "HEADRACE_STREAM_REPLICAS": str(len(brokers)) if brokers else "",
        "HEADRACE_MASTER_KEY": _read_text(folder.path / "secrets" / "master-key"),
        "HEADRACE_URL": state.url,
    }
    given = resolve_secret_files(os.environ)
    os.environ.update({name: value for name, value in variables.items() if not given.get(name)})


def _read_text(file: Path) -> str:
    return file.read_text().strip() if file.exists() else ""
