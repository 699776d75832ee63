"""Finds and ends processes that outlive their job, and removes their folders."""

import fcntl
import os
import shutil
import signal
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

ENV_MARKER = "CI_PROJECT_DIR"  # every process of a job carries it, whatever session or group it moved to
KILL_TIMEOUT_SECONDS = 5.0
IS_LINUX = sys.platform == "linux"


def _read_proc(process: str, name: str) -> bytes:
    try:
        return Path("/proc", process, name).read_bytes()
    except OSError:  # gone meanwhile, or of another user
        return b""


def _list_processes() -> list[str]:
    own = str(os.getpid())
    return [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != own] if IS_LINUX else []


def _read_stat(process: str) -> list[str]:
    """State, parent, group, session, ...: what follows the name, which may itself hold spaces and brackets."""
    return _read_proc(process, "stat").rpartition(b")")[2].decode().split()


def _session_of(process: str) -> str:
    return "".join(_read_stat(process)[3:4])


def _children_of(process: str) -> Iterator[str]:
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for thread in threads:
        yield from _read_proc(process, f"task/{thread}/children").decode().split()


def live_descendants(root: int) -> list[int]:
    """All that descends from the process and is more than a zombie."""
    family = [str(root)]
    for process in family:  # grows meanwhile
        family += _children_of(process)
    return [int(process) for process in family[1:] if _read_stat(process)[:1] not in ([], ["Z"], ["X"])]


def send_signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(group, number)


def kill_descendants(root: int) -> None:
    """Kill all that descends from a process that adopts orphans."""
    give_up = time.monotonic() + KILL_TIMEOUT_SECONDS
    for _ in range(2):  # a list that is read while somebody dies may lack others
        while (left := live_descendants(root)) and time.monotonic() < give_up:
            for process in left:
                send_signal(process, signal.SIGKILL)
            time.sleep(0.001)


def kill_tree(supervisor: int) -> None:
    """Kill all that descends from it and at last itself: stopped before, it cannot lose anybody."""
    send_signal(supervisor, signal.SIGSTOP)
    kill_descendants(supervisor)
    send_signal(supervisor, signal.SIGKILL)
    signal_group(supervisor, signal.SIGKILL)  # where its family cannot be seen


def find_sessions(folder: Path) -> set[str]:
    """Sessions of this folder's jobs, known by the environment of their processes: numbers alone may be reused."""
    mark = f"\0{ENV_MARKER}={folder}/".encode()
    marked = {each for each in _list_processes() if mark in b"\0" + _read_proc(each, "environ")}
    # a leader without the mark is somebody's terminal, where a job is being looked at
    return {each for each in map(_session_of, marked) if each and (each in marked or not Path("/proc", each).exists())}


def find_session_members(sessions: set[str]) -> list[int]:
    """Also those who cleared their environment: a job shares its sessions with nobody."""
    return (
        [int(each) for each in _list_processes() if _session_of(each) in sessions and _read_stat(each)[:1] != ["Z"]]
        if sessions
        else []
    )


def _make_removable(_function: object, path: str, _error: object) -> None:
    """Jobs leave folders without write permission behind (the Go module cache does)."""
    for each in (os.path.dirname(path), path):
        if os.path.isdir(each) and not os.path.islink(each):
            os.chmod(each, stat.S_IRWXU)


def kill_and_remove(folder: Path) -> bool:
    """Kill what still runs for this folder and remove it; false if something could not be removed."""
    give_up = time.monotonic() + KILL_TIMEOUT_SECONDS
    known = find_sessions(folder)
    for session in known:
        kill_tree(int(session))
    while (left := find_session_members(known)) and time.monotonic() < give_up:
        for process in left:
            send_signal(process, signal.SIGKILL)
        time.sleep(0.01)
        known |= find_sessions(folder)
    shutil.rmtree(folder, onerror=_make_removable)
    if folder.exists():  # second round, now with permissions
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@contextmanager
def _lock_directory(folder: Path, *, wait: bool) -> Iterator[bool]:
    """A lock that the kernel takes back when its owner dies; yields whether it was free."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def is_abandoned(folder: Path) -> bool:
    """Whether the run that this folder was made for is over, however it ended."""
    if not folder.is_dir():
        return True
    with _lock_directory(folder, wait=False) as free:
        return free


@contextmanager
def create_run_directory(builds: Path) -> Iterator[Path]:
    """A private folder for one run of an agent."""
    builds.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with _lock_directory(
            builds, wait=True
        ):  # nobody may take a folder for abandoned before its owner has locked it
            for folder in builds.glob("run-*"):
                with _lock_directory(folder, wait=False) as abandoned:
                    if abandoned:
                        kill_and_remove(folder)
            folder = Path(tempfile.mkdtemp(dir=builds.resolve(), prefix="run-"))
            held.enter_context(_lock_directory(folder, wait=True))
        try:
            yield folder
        finally:
            kill_and_remove(folder)
