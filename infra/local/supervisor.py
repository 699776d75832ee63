"""Starts the stack in order, restarts what dies, and stops everything when told; one thread and little memory."""

import os
import select
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from infra.local.folder import DataFolder
from infra.local.mongod import mongod
from infra.local.nats import nats_server
from infra.local.process import Process, Program
from infra.local.stack import Plan, Stack, gateway_port
from infra.local.state import Running, StackState, held_by_us
from libs.settings import Settings

START_PATIENCE = 90.0  # seconds a process may take to become ready
START_ATTEMPTS = 3
STOP_WITHIN = 10.0  # seconds for everything together
STOP_SHARE = 1.2  # seconds of it that every stage is sure of, whatever the ones before it take
LONGEST_DELAY = 15.0  # seconds between two starts of a process that keeps dying


class Stopped(Exception):
    """Somebody asked us to stop while we were starting."""


class Keeper:
    """Keeps one program running: starts it, notices that it is ready, starts it again when it dies."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.process = Process(plan())
        self.ready = False
        self._start_at: float | None = 0.0  # None: it runs
        self._started_at = 0.0
        self._deaths = 0  # in a row, without having been ready in between

    @property
    def name(self) -> str:
        return self.process.program.name

    @property
    def settled(self) -> bool:
        """Nothing to look at until it dies."""
        return self.ready and self._start_at is None

    def turn(self, *, starting: bool) -> str:
        """Look at the process once and do what is due; returns what is worth telling."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.process = Process(self._plan())
                self.process.start()
                self._start_at, self._started_at = None, now
        elif (status := self.process.exit_status()) is not None:
            return self._died(status, starting=starting)
        elif not self.ready:
            self.ready = self.process.program.ready()
            if self.ready:
                self._deaths = 0
                took = now - self._started_at
                return f"{self.name:<18} ready after {took:.1f} s   {self.process.program.address}"
            if starting and now > self._started_at + START_PATIENCE:
                raise self.process.failure(f"was not ready after {START_PATIENCE:g} s")
        return ""

    def _died(self, status: int, *, starting: bool) -> str:
        self._deaths = 0 if self.ready else self._deaths + 1
        self.ready = False
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        if starting and self._deaths >= START_ATTEMPTS:
            raise self.process.failure(f"{how}, {self._deaths} times in a row")
        delay = min(0.25 * 2**self._deaths, LONGEST_DELAY) if self._deaths else 0.0
        self._start_at = time.monotonic() + delay
        if self._deaths >= START_ATTEMPTS:
            return f"{self.process.failure(how)}\n  next attempt in {delay:g} s"
        return f"{self.name:<18} {how}; starting it again"

    def seen(self) -> Running:
        program = self.process.program
        return Running(
            name=self.name,
            pid=self.process.pid if self._start_at is None else None,
            address=program.address,
            health=program.health,
            url=program.url,
        )


class Supervisor:
    def __init__(
        self, settings: Settings, environ: Mapping[str, str], say: Callable[[str], None], python: tuple[str, ...]
    ) -> None:
        self._settings = settings
        self._environ = environ
        self._say = say
        self._python = python
        self._folder = DataFolder(settings.data)
        self._keepers: list[list[Keeper]] = []  # by stage, in the order of the start
        self._up = False
        self._stopping = False
        self._written: StackState | None = None

    def run(self, announce: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT. Raises StackError when the stack cannot start."""
        self._folder.prepare()
        with held_by_us(self._folder), self._signals() as wake, gateway_port(self._settings):
            self._wake = wake
            try:
                self._start()
                self._up = True
                self._turn()
                announce()
                while True:
                    self._turn()
            except Stopped:
                self._say("stopping ...")
            finally:
                self._stop()
            self._say("stopped")

    def _start(self) -> None:
        self._write_state()
        stack = self._start_servers()
        self._once(stack.migrate())
        self._bring_up(stack.services())
        self._bring_up(stack.gateways())
        if not self._folder.agent_config.exists():
            self._once(stack.registration())
        self._bring_up([stack.agent()])

    def _start_servers(self) -> Stack:
        settings = self._settings
        servers: list[Program] = []
        mongodb_url, nats_address = settings.mongodb_url, settings.nats_url
        if not mongodb_url:
            servers.append(mongod(self._folder))
            mongodb_url = servers[-1].url
        if not nats_address:
            servers.append(nats_server(self._folder))
            nats_address = servers[-1].address
        # Unlike the rest these keep their program, because the others were told their ports.
        self._bring_up([_same(program) for program in servers])
        return Stack(settings, self._folder, mongodb_url, nats_address, self._environ, self._python)

    def _bring_up(self, plans: Sequence[Plan]) -> None:
        stage = [Keeper(plan) for plan in plans]
        self._keepers.append(stage)
        while not all(keeper.ready for keeper in stage):
            self._turn()

    def _once(self, program: Program) -> None:
        """Run it to its end."""
        process = Process(program)
        process.start()
        try:
            while (status := process.exit_status()) is None:
                self._turn()
        finally:
            process.kill()
        if status:
            raise process.failure(f"ended with status {status}")
        self._say(f"{program.name:<18} done")

    def _turn(self) -> None:
        """Look after everybody once, then sleep until a child dies, a signal comes or it is time to look again."""
        keepers = [keeper for stage in self._keepers for keeper in stage]
        for keeper in keepers:
            if news := keeper.turn(starting=not self._up):
                self._say(news)
        self._write_state()
        settled = self._up and all(keeper.settled for keeper in keepers)
        if settled:
            for keeper in keepers:
                keeper.process.trim_log()
        if select.select([self._wake], [], [], 5.0 if settled else 0.03)[0]:
            self._wake.recv(4096)
        if self._stopping:
            raise Stopped

    def _write_state(self) -> None:
        seen = tuple(keeper.seen() for stage in self._keepers for keeper in stage)
        state = StackState(os.getpid(), self._up, self._settings.url, seen)
        if state != self._written:
            state.write(self._folder)
            self._written = state

    def _stop(self) -> None:
        """In reverse order, so that nobody misses what he needs to finish; who takes too long is killed."""
        end = time.monotonic() + STOP_WITHIN
        for later in reversed(range(len(self._keepers))):
            processes = [keeper.process for keeper in self._keepers[later]]
            for process in processes:
                process.terminate()
            for process in processes:
                process.stop(max(0.0, end - later * STOP_SHARE - time.monotonic()))

    @contextmanager
    def _signals(self) -> Iterator[socket.socket]:
        """A socket that becomes readable with every signal; SIGCHLD only has to wake us."""
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


def _same(program: Program) -> Plan:
    return lambda: program
