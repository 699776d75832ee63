"""Cleanup after jobs: killing processes that outlive their job, and removing the job's folders."""

import os
import shutil
import signal
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

ENV_MARKER = "CI_PROJECT_DIR"  # environment variable by which processes of a job are found
KILL_TIMEOUT_SECONDS = 5.0
IS_LINUX = sys.platform == "linux"


def _read_proc(process: str, name: str) -> bytes:
    try:
        return Path("/proc", process, name).read_bytes()
    except OSError:
        return b""


def _list_processes() -> list[str]:
    own = str(os.getpid())
    return [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != own] if IS_LINUX else []


def _read_stat(process: str) -> list[str]:
    """Return the fields of /proc/PID/stat after the name: state, parent, group, session ... Empty after the exit."""
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
    family = [str(root)]
    for process in family:  # the list grows during the loop
        family += _children_of(process)
    return [int(process) for process in family[1:] if _read_stat(process)[:1] not in ([], ["Z"], ["X"])]


def has_processes(uid: int) -> bool:
    """Return whether a process of this user is alive. /proc/PID belongs to the effective user of a process."""
    for process in _list_processes():
        with suppress(FileNotFoundError):
            if os.stat(f"/proc/{process}").st_uid == uid and _read_stat(process)[:1] not in ([], ["Z"], ["X"]):
                return True
    return False


def send_signal(process: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS raises PermissionError for zombies
        os.killpg(group, number)


def kill_descendants(root: int) -> None:
    """Kill all descendants of the process `root`, a child subreaper, and wait up to KILL_TIMEOUT_SECONDS."""
    deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
    for _ in range(2):  # a list read while a process exits may be incomplete
        while (remaining := live_descendants(root)) and time.monotonic() < deadline:
            for process in remaining:
                send_signal(process, signal.SIGKILL)
            time.sleep(0.001)


def kill_tree(supervisor: int) -> None:
    """Kill all descendants of a supervisor, then the supervisor. It is stopped first and still adopts orphans."""
    send_signal(supervisor, signal.SIGSTOP)
    kill_descendants(supervisor)
    send_signal(supervisor, signal.SIGKILL)
    signal_group(supervisor, signal.SIGKILL)  # for systems without /proc, where the descendants are unknown


def find_sessions(folder: Path, ancestor: int | None = None) -> set[str]:
    """Return the ids of the sessions of jobs in this folder. With `ancestor`, search only its descendants.

    The sessions are identified by the environment of their processes, because a stored id may belong to another process
    by now.
    """
    marker = f"\0{ENV_MARKER}={folder}/".encode()
    processes = _list_processes() if ancestor is None else map(str, live_descendants(ancestor))
    marked_processes = {process for process in processes if marker in b"\0" + _read_proc(process, "environ")}
    # excludes sessions whose leader lacks the variable: terminals in which a person inspects the job
    return {
        session
        for session in map(_session_of, marked_processes)
        if session and (session in marked_processes or not Path("/proc", session).exists())
    }


def find_session_members(sessions: set[str]) -> list[int]:
    """Return the ids of all processes in these sessions, including processes that cleared their environment."""
    if not sessions:
        return []
    members = (process for process in _list_processes() if _session_of(process) in sessions)
    return [int(process) for process in members if _read_stat(process)[:1] != ["Z"]]


def _make_removable(_function: object, path: str, _error: object) -> None:
    """Add write permission to a folder and its parent. Some tools remove it, for example Go from its module cache."""
    for part in (os.path.dirname(path), path):
        if os.path.isdir(part) and not os.path.islink(part):
            os.chmod(part, stat.S_IRWXU)


def kill_and_remove(folder: Path, ancestor: int | None = None) -> bool:
    """Kill all processes of jobs in this folder, then remove the folder. Return whether all of it is gone.

    `ancestor`: the child subreaper that has started all these jobs. None: all processes of the machine are examined.
    """
    deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
    known_sessions = find_sessions(folder, ancestor)
    for session in known_sessions:
        kill_tree(int(session))
    while (remaining := find_session_members(known_sessions)) and time.monotonic() < deadline:
        for process in remaining:
            send_signal(process, signal.SIGKILL)
        time.sleep(0.01)
        known_sessions |= find_sessions(folder, ancestor)
    shutil.rmtree(folder, onerror=_make_removable)
    if folder.exists():  # try again with changed permissions
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()
