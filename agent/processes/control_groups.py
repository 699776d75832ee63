"""Control groups (cgroup v2) of jobs, which limit and kill all processes of a job together.

Source: https://docs.kernel.org/admin-guide/cgroup-v2.html. Each job has a group below the agent's own, which must be
delegated to the agent, for example with `Delegate=yes` in a systemd unit.
"""

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from agent.processes.process_cleanup import KILL_TIMEOUT_SECONDS

AGENT_GROUP = "headrace-agent"  # subgroup for the agent; a group with limited subgroups cannot have processes
JOB_PREFIX = "headrace-job-"
CPU_PERIOD_MICROSECONDS = 100_000
MOUNT = re.compile(r"^\S+ \S+ \S+ (?P<root>\S+) (?P<folder>\S+) .* - cgroup2 ", re.MULTILINE)


def find_own_group(mounts: str, membership: str) -> Path:
    """Return the folder of this process's group, given /proc/self/mountinfo and /proc/self/cgroup. Raises OSError."""
    member = re.search(r"^0::(/.*)$", membership, re.MULTILINE)
    for mount in MOUNT.finditer(mounts):
        if member and (member[1] + "/").startswith(mount["root"].rstrip("/") + "/"):
            inner = member[1][len(mount["root"].rstrip("/")) :].strip("/")
            own = Path(mount["folder"], inner)
            return own.parent if own.name == AGENT_GROUP else own
    raise OSError("job_limits: this machine has no cgroup v2, or the agent cannot see its own group")


class ControlGroups:
    """The agent's group, below which the groups of jobs are created."""

    def __init__(self, own: Path, limits: Mapping[str, str]) -> None:
        """Prepare the group. `limits`: file of a job's group, such as `pids.max`, and its content. Raises OSError."""
        self._own = own
        self._limits = limits
        needed = {name.partition(".")[0] for name in limits}
        try:
            missing = needed - set((own / "cgroup.controllers").read_text().split())
            if missing:
                raise OSError(f"the controllers {', '.join(sorted(missing))} are not available")
            for stale in own.glob(f"{JOB_PREFIX}*"):
                with suppress(OSError):  # the group still has processes: it may belong to another agent
                    stale.rmdir()
            if (own / "cgroup.type").exists():  # not the root group, which may have processes
                self._move_processes(own / AGENT_GROUP)
            (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(needed)))
        except OSError as error:
            raise OSError(f"job_limits: the cgroup {own} cannot be used: {error}") from error

    def _move_processes(self, target: Path) -> None:
        target.mkdir(exist_ok=True)
        for process in (self._own / "cgroup.procs").read_text().split():
            with suppress(ProcessLookupError):
                (target / "cgroup.procs").write_text(process)

    def create(self, name: str) -> "JobGroup":
        group = JobGroup(self._own / f"{JOB_PREFIX}{name}")
        group.folder.mkdir()
        for file, content in self._limits.items():
            (group.folder / file).write_text(content)
        with suppress(OSError):  # out of memory ends the whole job, not one process; needs the memory controller
            (group.folder / "memory.oom.group").write_text("1")
        return group


def open_control_groups(limits: Mapping[str, str]) -> ControlGroups | None:
    """Return the groups of jobs with these limits, or None without limits. Raises OSError if they cannot be used."""
    if not limits:
        return None
    mounts, membership = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
    return ControlGroups(find_own_group(mounts, membership), limits)


class JobGroup:
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def kill(self) -> bool:
        """Kill all processes of the group. Return whether all have ended within KILL_TIMEOUT_SECONDS."""
        deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
        (self.folder / "cgroup.kill").write_text("1")
        while (has_processes := self._has_processes()) and time.monotonic() < deadline:
            time.sleep(0.001)
        return not has_processes

    def remove(self) -> None:
        self.kill()
        with suppress(OSError):  # the next start of the agent removes it
            self.folder.rmdir()

    def _has_processes(self) -> bool:
        return "populated 1" in (self.folder / "cgroup.events").read_text()
