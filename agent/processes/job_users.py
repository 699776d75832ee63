"""Users of the operating system that run the jobs of the shell executor, one per concurrent job."""

import codecs
import ctypes
import os
import pwd
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from agent.processes.process_cleanup import IS_LINUX

SHARED_FOLDERS = (Path("/tmp"), Path("/var/tmp"), Path("/dev/shm"))  # noqa: S108 - writable for all users
codecs.lookup("cp437")  # for zipfile; loaded at import, because a job's user may not be able to read Python's files
CURRENT_USER = ctypes.c_uint(0xFFFFFFFF)  # setfsuid(-1) changes nothing and returns the current user


class JobUserError(Exception):
    """The configured job users cannot run jobs, or would not separate jobs from each other and from the agent."""


@dataclass(frozen=True, slots=True)
class JobUser:
    name: str
    uid: int
    gid: int

    @contextmanager
    def file_access(self) -> Iterator[None]:
        """Access files as this user in the current thread: with its permissions, and as the owner of new files.

        The agent thereby never follows a link of a job to a file that the job itself could not open (setfsuid(2)).
        """
        libc = ctypes.CDLL(None)
        libc.setfsgid(self.gid)
        libc.setfsuid(self.uid)
        try:
            if libc.setfsuid(CURRENT_USER) != self.uid or libc.setfsgid(CURRENT_USER) != self.gid:
                raise PermissionError(f"the agent may not access files as user {self.name}")
            yield
        finally:
            libc.setfsuid(os.geteuid())
            libc.setfsgid(os.getegid())

    def own(self, path: Path) -> None:
        os.chown(path, self.uid, self.gid, follow_symlinks=False)

    def remove_leftovers(self) -> None:
        """Remove this user's files from the folders that all users share: the next job of this user could read them."""
        with self.file_access():
            for folder in filter(Path.is_dir, SHARED_FOLDERS):
                with os.scandir(folder) as entries:
                    owned = [entry for entry in entries if entry.stat(follow_symlinks=False).st_uid == self.uid]
                for entry in owned:
                    if entry.is_dir(follow_symlinks=False):
                        shutil.rmtree(entry.path, ignore_errors=True)
                    else:
                        with suppress(OSError):
                            os.unlink(entry.path)


def resolve_job_users(names: Sequence[str]) -> tuple[JobUser, ...]:
    """Return the users with these names; each is a name, `uid` or `uid:gid`. Raises JobUserError."""
    users = tuple(map(_resolve, names))
    if len({user.uid for user in users}) < len(users):
        raise JobUserError("job_users: each concurrent job needs a user of its own, but two entries are the same user")
    if users and (not IS_LINUX or os.geteuid() != 0):
        raise JobUserError("job_users: the agent must run as root, on Linux, to start jobs as another user")
    return users


def _resolve(name: str) -> JobUser:
    uid, _, gid = name.partition(":")
    if uid.isascii() and uid.isdecimal() and (not gid or (gid.isascii() and gid.isdecimal())):
        user = JobUser(name, int(uid), int(gid or uid))
    else:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise JobUserError(f"job_users: this machine has no user {name!r}") from None
        user = JobUser(name, entry.pw_uid, entry.pw_gid)
    if 0 in (user.uid, user.gid) or user.uid == os.geteuid() or max(user.uid, user.gid) >= 2**32 - 1:
        raise JobUserError(f"job_users: {name!r} is root, in root's group, the agent's own user, or not a valid id")
    return user


def check_separation(users: Sequence[JobUser], config_file: Path, builds: Path) -> None:
    """Check that the users can enter the checkouts' folder, but neither change it nor read the agent's config file.

    Raises JobUserError.
    """
    for user in users:
        with user.file_access():
            if _can_open(config_file):
                raise JobUserError(f"job_users: {user.name} can read {config_file}, which has the runner's token")
            if not _can_enter(builds):
                raise JobUserError(
                    f"job_users: {user.name} cannot enter {builds}; set builds_dir to a folder that all users can enter"
                )
            if _can_write(builds):
                raise JobUserError(f"job_users: {user.name} can write to {builds}; only the agent's user may do that")


def _can_open(path: Path) -> bool:
    try:
        os.close(os.open(path, os.O_RDONLY))
    except OSError:
        return False
    return True


def _can_write(folder: Path) -> bool:
    try:
        os.rmdir(tempfile.mkdtemp(dir=folder))
    except OSError:
        return False
    return True


def _can_enter(folder: Path) -> bool:
    try:
        os.stat(f"{folder}/.")
    except PermissionError:
        return False
    return True
