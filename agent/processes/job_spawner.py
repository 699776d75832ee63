"""The programs of one job: started as the job's user if it has one, and ended with all their processes."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM

from agent.processes.control_groups import JobGroup
from agent.processes.job_users import JobUser
from agent.processes.process_cleanup import (
    IS_LINUX,
    KILL_TIMEOUT_SECONDS,
    has_processes,
    kill_tree,
    live_descendants,
    send_signal,
    signal_group,
)
from agent.processes.process_spawner import ProcessSpawner

KILL_DELAY_SECONDS = 2.5  # delay between SIGTERM and SIGKILL


class JobSpawner:
    def __init__(self, spawner: ProcessSpawner, user: JobUser | None = None, group: JobGroup | None = None) -> None:
        self._spawner = spawner
        self.user = user
        self.group = group
        self.may_have_processes = True  # True at first, because the user may have processes of an earlier job

    @property
    def ancestor(self) -> int | None:
        return self._spawner.ancestor

    def start(
        self, command: Sequence[str], cwd: Path, environment: Mapping[str, str], status_fd: int, output_fd: int
    ) -> int:
        user = (self.user.uid, self.user.gid) if self.user else None
        group = self.group.folder if self.group else None
        self.may_have_processes = True
        return self._spawner.start(command, cwd, environment, status_fd, output_fd, user, group)

    def as_agent(self) -> "JobSpawner":
        """Return a spawner for programs that run as the agent's user."""
        return JobSpawner(self._spawner)

    async def terminate(self, supervisor: int, status: asyncio.Future[bytes]) -> None:
        """Send SIGTERM to all remaining processes of a program, and SIGKILL after KILL_DELAY_SECONDS."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + KILL_DELAY_SECONDS

        def has_survivors() -> bool:
            return bool(live_descendants(supervisor)) if IS_LINUX else not status.done()

        try:
            if has_survivors():
                self._send_sigterm(supervisor)
            while has_survivors() and loop.time() < deadline:  # noqa: ASYNC110 - no event exists
                await asyncio.sleep(0.01)
        finally:  # also if canceled while waiting
            if self.user is None and self.group is None:
                kill_tree(supervisor)
            self.kill_all()

    def kill_all(self) -> bool:
        """Kill all processes of the job's group and user. Return whether all have ended within KILL_TIMEOUT_SECONDS."""
        if not self.may_have_processes:
            return True
        is_killed = self.group is None or self.group.kill()
        if self.user is None:
            return is_killed
        deadline = time.monotonic() + KILL_TIMEOUT_SECONDS
        self._spawner.signal_user(self.user.uid, self.user.gid, SIGKILL)
        while (is_alive := has_processes(self.user.uid)) and time.monotonic() < deadline:
            time.sleep(0.001)
        self.may_have_processes = is_alive
        return is_killed and not is_alive

    def _send_sigterm(self, supervisor: int) -> None:
        if self.user:
            self._spawner.signal_user(self.user.uid, self.user.gid, SIGTERM)
        elif not IS_LINUX:
            signal_group(supervisor, SIGTERM)
        else:
            for process in live_descendants(supervisor):
                send_signal(process, SIGTERM)
