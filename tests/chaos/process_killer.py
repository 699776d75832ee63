"""Kill, suspend and stop processes of a running stack. A seed selects the processes and the pauses."""

import asyncio
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

import psutil

from infra.local.data_folder import DataFolder
from infra.local.stack_state import ProcessState, StackState
from tests.support.stacks.running_stack import SERVICES, RunningStack
from tests.support.waiting import eventually

PROCESS_KINDS = (*SERVICES, "gateway", "agent", "mongod", "nats-server")
RESTART_TIMEOUT = 60.0  # maximum seconds until the supervisor has restarted a process


@dataclass(frozen=True, slots=True)
class Kill:
    kinds: tuple[str, ...]
    killed_at: float
    ready_at: float | None  # when all killed processes were ready again; None: not within RESTART_TIMEOUT


def has_exited(pid: int) -> bool:
    """Return whether the process has ended, even if its parent has not noticed yet."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def one_of_each_kind(seed: int) -> list[tuple[str]]:
    return [(kind,) for kind in Random(seed).sample(PROCESS_KINDS, len(PROCESS_KINDS))]  # noqa: S311


def random_pairs(seed: int) -> Iterator[Sequence[str]]:
    random = Random(seed)  # noqa: S311
    while True:
        yield random.sample(PROCESS_KINDS, 2)


class ProcessKiller:
    """Kills, suspends and stops processes of one stack. Records kills and suspensions in `kills`."""

    def __init__(self, stack: RunningStack, seed: int, pauses: tuple[float, float] = (0, 0)) -> None:
        self._stack = stack
        self._folder = DataFolder(stack.data)
        self._random = Random(seed)  # noqa: S311
        self._pauses = pauses
        self.kills: list[Kill] = []

    async def run(self, turns: Iterable[Sequence[str]]) -> None:
        """For each turn: pause at random, kill a process of each kind in it at once, and wait until they are ready."""
        for kinds in turns:
            await asyncio.sleep(self._random.uniform(*self._pauses))
            await self.kill(kinds, [self._pick_process(kind) for kind in kinds])

    async def freeze_leader(self, service: str, seconds: float) -> None:
        """Suspend the leader of the service for some seconds, and check that another replica becomes the leader."""
        name = await self._stack.get_leader(service)
        at = time.monotonic()
        await self._send_signal([name], signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
            assert await self._stack.get_leader(service) != name, "no replica replaced the suspended leader"
        finally:
            await self._send_signal([name], signal.SIGCONT)
        self.kills.append(Kill((f"{service} (frozen)",), at, time.monotonic()))

    async def freeze(self, name: str, seconds: float, label: str = "") -> None:
        """Suspend a process for some seconds. `label`: its name in the report. Default: `name`."""
        at = time.monotonic()
        await self._send_signal([name], signal.SIGSTOP)
        try:
            await asyncio.sleep(seconds)
        finally:
            await self._send_signal([name], signal.SIGCONT)
        self.kills.append(Kill((label or name,), at, time.monotonic()))

    async def stop_while_frozen(self, server: str, names: Sequence[str]) -> float:
        """Suspend the server and stop the processes. Stop the first one again while its replacement starts.

        Return the seconds of the longer of the two shutdowns. A shutdown ends when the processes have exited, not when
        their replacements start. One process is enough for the second stop, because all services start alike.
        """
        first = names[:1]
        await self._send_signal([server], signal.SIGSTOP)
        try:
            settled = await self._stop_and_wait(names)
            await eventually(lambda: all(map(self._handles_sigterm, first)), within=RESTART_TIMEOUT)
            return max(settled, await self._stop_and_wait(first))
        finally:
            await self._send_signal([server], signal.SIGCONT)

    async def _stop_and_wait(self, names: Sequence[str]) -> float:
        before = await self._send_signal(names, signal.SIGTERM)
        at = time.monotonic()
        await eventually(lambda: all(map(has_exited, before.values())), within=RESTART_TIMEOUT)
        seconds = time.monotonic() - at
        await eventually(
            lambda: all(self._read_processes()[name].pid != pid for name, pid in before.items()), within=RESTART_TIMEOUT
        )
        return seconds

    def _handles_sigterm(self, name: str) -> bool:
        pid = self._read_processes()[name].pid
        if not pid or not (status := Path(f"/proc/{pid}/status")).exists():
            return False
        caught = next(line for line in status.read_text().splitlines() if line.startswith("SigCgt"))
        return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)

    async def _send_signal(self, names: Sequence[str], number: signal.Signals) -> dict[str, int]:
        """Send a signal to all named processes once all of them run. Return their process ids."""
        await eventually(lambda: all(self._read_processes()[name].pid for name in names), within=RESTART_TIMEOUT)
        pids = {name: self._read_processes()[name].pid or 0 for name in names}
        for pid in filter(None, pids.values()):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        return pids

    async def wait_until_ready(self) -> None:
        await eventually(lambda: asyncio.to_thread(self._are_all_ready), within=RESTART_TIMEOUT)

    def _are_all_ready(self) -> bool:
        return all(process.is_ready() for process in self._read_processes().values())

    def _pick_process(self, kind: str) -> str:
        return self._random.choice(
            [name for name in self._read_processes() if name == kind or name.rpartition("-")[0] == kind]
        )

    async def kill(self, kinds: Sequence[str], names: Sequence[str]) -> None:
        """Kill the processes at the same time, and wait until all are ready again.

        `kinds`: the kinds of the processes, for the report. Raises AssertionError after RESTART_TIMEOUT.
        """
        at = time.monotonic()
        before = await self._send_signal(names, signal.SIGKILL)
        ready = None
        try:
            await eventually(lambda: asyncio.to_thread(self._have_restarted, before), within=RESTART_TIMEOUT)
            ready = time.monotonic()
        finally:
            self.kills.append(Kill(tuple(kinds), at, ready))

    def _have_restarted(self, before: Mapping[str, int]) -> bool:
        now = self._read_processes()
        return all(now[name].pid != pid and now[name].is_ready() for name, pid in before.items())

    def _read_processes(self) -> dict[str, ProcessState]:
        state = StackState.read(self._folder)
        assert state is not None, "the supervisor is not running"
        return {process.name: process for process in state.processes}
