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

MARK = "CI_PROJECT_DIR"  # every process of a job carries it, whatever session or group it moved to
DEADLINE = 5.0
LINUX = sys.platform == "linux"


def _read(process: str, name: str) -> bytes:
    try:
        return Path("/proc", process, name).read_bytes()
    except OSError:  # gone meanwhile, or of another user
        return b""


def _processes() -> list[str]:
    own = str(os.getpid())
    return [entry for entry in os.listdir("/proc") if entry.isdigit() and entry != own] if LINUX else []


def _stat(process: str) -> list[str]:
    """State, parent, group, session, ...: what follows the name, which may itself hold spaces and brackets."""
    return _read(process, "stat").rpartition(b")")[2].decode().split()


def _session(process: str) -> str:
    return "".join(_stat(process)[3:4])


def _children(process: str) -> Iterator[str]:
    try:
        threads = os.listdir(f"/proc/{process}/task")
    except OSError:
        return
    for thread in threads:
        yield from _read(process, f"task/{thread}/children").decode().split()


def living(root: int) -> list[int]:
    """All that descends from the process and is more than a zombie."""
    family = [str(root)]
    for process in family:  # grows meanwhile
        family += _children(process)
    return [int(process) for process in family[1:] if _stat(process)[:1] not in ([], ["Z"], ["X"])]


def signalled(process: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(process, number)


def signal_group(group: int, number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
        os.killpg(group, number)


def weed(root: int) -> None:
    """Kill all that descends from a process that adopts orphans."""
    give_up = time.monotonic() + DEADLINE
    for _ in range(2):  # a list that is read while somebody dies may lack others
        while (left := living(root)) and time.monotonic() < give_up:
            for process in left:
                signalled(process, signal.SIGKILL)
            time.sleep(0.001)


def uproot(supervisor: int) -> None:
    """Kill all that descends from it and at last itself: stopped before, it cannot lose anybody."""
    signalled(supervisor, signal.SIGSTOP)
    weed(supervisor)
    signalled(supervisor, signal.SIGKILL)
    signal_group(supervisor, signal.SIGKILL)  # where its family cannot be seen


def sessions(folder: Path) -> set[str]:
    """Sessions of this folder's jobs, known by the environment of their processes: numbers alone may be reused."""
    mark = f"\0{MARK}={folder}/".encode()
    marked = {each for each in _processes() if mark in b"\0" + _read(each, "environ")}
    # a leader without the mark is somebody's terminal, where a job is being looked at
    return {each for each in map(_session, marked) if each and (each in marked or not Path("/proc", each).exists())}


def members(of: set[str]) -> list[int]:
    """Also those who cleared their environment: a job shares its sessions with nobody."""
    return [int(each) for each in _processes() if _session(each) in of and _stat(each)[:1] != ["Z"]] if of else []


def _make_removable(_function: object, path: str, _error: object) -> None:
    """Jobs leave folders without write permission behind (the Go module cache does)."""
    for each in (os.path.dirname(path), path):
        if os.path.isdir(each) and not os.path.islink(each):
            os.chmod(each, stat.S_IRWXU)


def clear(folder: Path) -> bool:
    """Kill what still runs for this folder and remove it; false if something could not be removed."""
    give_up = time.monotonic() + DEADLINE
    known = sessions(folder)
    for session in known:
        uproot(int(session))
    while (left := members(known)) and time.monotonic() < give_up:
        for process in left:
            signalled(process, signal.SIGKILL)
        time.sleep(0.01)
        known |= sessions(folder)
    shutil.rmtree(folder, onerror=_make_removable)
    if folder.exists():  # second round, now with permissions
        shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """A lock that the kernel takes back when its owner dies; yields whether it was free."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(handle)


def abandoned(folder: Path) -> bool:
    """Whether the run that this folder was made for is over, however it ended."""
    if not folder.is_dir():
        return True
    with _locked(folder, wait=False) as free:
        return free


@contextmanager
def run_folder(builds: Path) -> Iterator[Path]:
    """A private folder for one run of an agent."""
    builds.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        with _locked(builds, wait=True):  # nobody may take a folder for abandoned before its owner has locked it
            for folder in builds.glob("run-*"):
                with _locked(folder, wait=False) as abandoned:
                    if abandoned:
                        clear(folder)
            folder = Path(tempfile.mkdtemp(dir=builds.resolve(), prefix="run-"))
            held.enter_context(_locked(folder, wait=True))
        try:
            yield folder
        finally:
            clear(folder)
