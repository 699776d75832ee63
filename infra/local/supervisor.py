"""Supervisor of the embedded stack: starts processes in order, restarts those that exit, and stops all on a signal."""

import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace

from infra.local.data_folder import DataFolder
from infra.local.fork_server import ForkServer
from infra.local.mongod import mongod_programs
from infra.local.nats_server import join_addresses, nats_server_programs
from infra.local.process import Process, Program
from infra.local.stack import ProgramFactory, Stack, reserve_gateway_port
from infra.local.stack_state import ProcessState, StackState, exclusive_lock
from libs.settings import Settings

START_TIMEOUT_SECONDS = 90.0  # maximum time until a process is ready
MAX_START_ATTEMPTS = 3
STOP_TIMEOUT_SECONDS = 10.0  # maximum time until all processes have stopped
MIN_STAGE_STOP_SECONDS = 1.2  # reserved for each stage, however long the other stages take
MAX_RESTART_DELAY_SECONDS = 15.0  # maximum pause before a process that keeps exiting is started again


class StopRequested(Exception):
    pass


class ManagedProcess:
    """Keeps one program running: starts it, detects that it is ready, and restarts it when it exits."""

    def __init__(self, create_program: ProgramFactory) -> None:
        self._create_program = create_program
        self.process = Process(create_program())
        self.ready = False
        self._start_at: float | None = 0.0  # monotonic time of the next start; None: the process runs
        self._started_at = 0.0
        self._failures = 0  # exits in a row before the process became ready

    @property
    def name(self) -> str:
        return self.process.program.name

    @property
    def is_stable(self) -> bool:
        """Whether the process runs and is ready: it needs no action until it exits."""
        return self.ready and self._start_at is None

    def tick(self, *, starting: bool) -> str:
        """Check the process once, and start it if it is due. Return a message to print, or "".

        With `starting`, raises OperatorError if the process is not ready in time or exits MAX_START_ATTEMPTS times.
        """
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.process = Process(self._create_program())
                self.process.start()
                self._start_at, self._started_at = None, now
        elif (status := self.process.exit_status()) is not None:
            return self._handle_exit(status, starting=starting)
        elif not self.ready:
            self.ready = self.process.program.is_ready()
            if self.ready:
                self._failures = 0
                took = now - self._started_at
                return f"{self.name:<18} ready after {took:.1f} s   {self.process.program.address}"
            if starting and now > self._started_at + START_TIMEOUT_SECONDS:
                raise self.process.failure(f"was not ready after {START_TIMEOUT_SECONDS:g} s")
        return ""

    def _handle_exit(self, status: int, *, starting: bool) -> str:
        self._failures = 0 if self.ready else self._failures + 1
        self.ready = False
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        if starting and self._failures >= MAX_START_ATTEMPTS:
            raise self.process.failure(f"{how}, {self._failures} times in a row")
        delay = min(0.25 * 2**self._failures, MAX_RESTART_DELAY_SECONDS) if self._failures else 0.0
        self._start_at = time.monotonic() + delay
        if self._failures >= MAX_START_ATTEMPTS:
            return f"{self.process.failure(how)}\n  next attempt in {delay:g} s"
        return f"{self.name:<18} {how}; restarting it"

    def snapshot(self) -> ProcessState:
        program = self.process.program
        return ProcessState(
            name=self.name,
            pid=self.process.pid if self._start_at is None else None,
            address=program.address,
            health=program.health,
            url=program.url,
        )


class Supervisor:
    def __init__(
        self, settings: Settings, environ: Mapping[str, str], report: Callable[[str], None], python: tuple[str, ...]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._report = report
        self._python = python
        self._folder = DataFolder(settings.data)
        self._fork_server: ForkServer | None = None
        self._stages: list[list[ManagedProcess]] = []  # in start order
        self._is_started = False
        self._stopping = False
        self._last_written: StackState | None = None

    def run(self, announce: Callable[[], None]) -> None:
        """Run until SIGTERM, SIGINT or SIGHUP. Call `announce` when the stack is ready.

        Raises OperatorError if the stack cannot start.
        """
        self._folder.prepare()
        with exclusive_lock(self._folder), self._handle_signals() as wake, reserve_gateway_port(self._settings):
            self._wake = wake
            try:
                self._start()
                self._is_started = True
                self._tick()
                announce()
                while True:
                    self._tick()
            except StopRequested:
                self._report("stopping ...")
            finally:
                self._stop()
            self._report("stopped")

    def _start(self) -> None:
        self._write_state()
        stack = self._start_servers()
        self._run_to_completion(stack.migration())
        self._start_stage(stack.services())
        self._start_stage(stack.gateways())
        if not self._folder.agent_config.exists():
            self._run_to_completion(stack.agent_registration())
        self._start_stage([stack.agent()])

    def _start_servers(self) -> Stack:
        settings, folder = self._settings, self._folder
        nodes = folder.fix_node_count(settings.nodes)
        databases = [] if settings.mongodb_url else mongod_programs(folder, nodes)
        brokers = [] if settings.nats_url else nats_server_programs(folder, nodes)
        mongodb_url = databases[0].url if databases else settings.mongodb_url
        nats_address = join_addresses(broker.address for broker in brokers) if brokers else settings.nats_url
        stack = Stack(settings, folder, mongodb_url, nats_address, self._environ, nodes, self._python)
        if sys.platform == "linux":
            self._fork_server = ForkServer(self._python, stack.common_environment(), self._folder.log("fork-server"))
            self._fork_server.start()  # it imports the modules while the servers start
            stack = replace(stack, fork=self._fork_server.fork)
        # The servers restart on the same ports, because the other processes know the servers' URLs.
        self._start_stage([_fixed_program(program) for program in (*databases, *brokers)])
        return stack

    def _start_stage(self, factories: Sequence[ProgramFactory]) -> None:
        stage = [ManagedProcess(plan) for plan in factories]
        self._stages.append(stage)
        while not all(keeper.ready for keeper in stage):
            self._tick()

    def _run_to_completion(self, program: Program) -> None:
        process = Process(program)
        process.start()
        try:
            while (status := process.exit_status()) is None:
                self._tick()
        finally:
            process.kill()
        if status:
            raise process.failure(f"exited with status {status}")
        self._report(f"{program.name:<18} done")

    def _tick(self) -> None:
        """Check all processes once. Then sleep until a child exits, a signal arrives or the next check is due.

        Raises StopRequested after a signal to stop.
        """
        keepers = [keeper for stage in self._stages for keeper in stage]
        for keeper in keepers:
            if news := keeper.tick(starting=not self._is_started):
                self._report(news)
        self._write_state()
        settled = self._is_started and all(keeper.is_stable for keeper in keepers)
        if settled:
            for keeper in keepers:
                keeper.process.trim_log()
        if select.select([self._wake], [], [], 5.0 if settled else 0.03)[0]:
            self._wake.recv(4096)
        if self._stopping:
            raise StopRequested

    def _write_state(self) -> None:
        seen = tuple(keeper.snapshot() for stage in self._stages for keeper in stage)
        state = StackState(os.getpid(), self._is_started, self._settings.url, seen)
        if state != self._last_written:
            state.write(self._folder)
            self._last_written = state

    def _stop(self) -> None:
        """Stop the stages in reverse order, so that dependencies stay available. Kill processes that take too long."""
        end = time.monotonic() + STOP_TIMEOUT_SECONDS
        for later in reversed(range(len(self._stages))):
            processes = [keeper.process for keeper in self._stages[later]]
            for process in processes:
                process.terminate()
            for process in processes:
                process.stop(max(0.0, end - later * MIN_STAGE_STOP_SECONDS - time.monotonic()))
        if self._fork_server:
            self._fork_server.stop()

    @contextmanager
    def _handle_signals(self) -> Iterator[socket.socket]:
        """Yield a socket that becomes readable on every signal. SIGCHLD only wakes the supervisor."""
        reader, writer = socket.socketpair()
        with reader, writer:
            reader.setblocking(False)
            writer.setblocking(False)
            signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                signal.signal(number, lambda *_: setattr(self, "_stopping", True))
            signal.signal(signal.SIGCHLD, lambda *_: None)
            yield reader
            signal.set_wakeup_fd(-1)


def _fixed_program(program: Program) -> ProgramFactory:
    return lambda: program
