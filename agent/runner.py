"""The agent's main loop: asks for jobs while a slot is free, runs them side by side, drains on request."""

import asyncio
import logging
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.container import sweep
from agent.engine import Engine, EngineError, socket_path
from agent.execution import SYSTEM, Execution
from agent.job import BadPayload, Job, parse
from agent.nursery import Nursery
from agent.protocol import HOLD, Offer, Protocol, Refused, pauses
from agent.strays import run_folder

logger = logging.getLogger("headrace.agent")

NO_ROOM_SECONDS = 5.0  # until the next job is asked for
REPORT_SECONDS = 4.0  # for killing the jobs that did not finish in time, and for reporting them


class Runner:
    def __init__(
        self, config: Config, protocol: Protocol, folder: Path, nursery: Nursery, jobs: asyncio.TaskGroup
    ) -> None:
        self._config = config
        self._protocol = protocol
        self._folder = folder
        self._nursery = nursery
        self._jobs = jobs
        self._slots = asyncio.Semaphore(config.concurrency)
        self._last_update: str | None = None
        self._running: dict[asyncio.Task[None], Execution] = {}
        self._asking = False
        self._leaving = False

    async def serve(self, *, once: bool) -> None:
        while not self._leaving:
            await self._slots.acquire()
            job = await self._next_job()
            if job is None:
                return
            try:
                folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"job-{job.id}-"))
                execution = Execution(job, self._config, self._protocol, folder, self._nursery)
            except OSError as error:  # a full disk: the jobs that run may make room
                logger.error("job %d cannot begin here: %s", job.id, error)
                self._slots.release()
                await self._give_back(job)
                await asyncio.sleep(NO_ROOM_SECONDS)
                continue
            task = self._jobs.create_task(self._execute(execution, job))
            self._running[task] = execution
            task.add_done_callback(self._forget)
            if once:
                await asyncio.wait([task])
                return

    async def hear_out(self, serving: asyncio.Task[None]) -> None:
        """Ask no more, but wait for what was asked: a job may be on its way here."""
        self._leaving = True
        logger.info("asking for no more jobs")
        if self._asking:
            await asyncio.wait([serving], timeout=HOLD)

    async def drain(self) -> None:
        """Let the jobs finish in time; then kill them, report that, and leave."""
        if not self._running:
            return
        logger.info("waiting up to %g s for %d running jobs", self._config.grace_seconds, len(self._running))
        _, late = await asyncio.wait(self._running, timeout=self._config.grace_seconds)
        for task in late:
            self._running[task].interrupt()
        if late:
            _, silent = await asyncio.wait(late, timeout=REPORT_SECONDS)
            for task in silent:
                logger.error("a result could not be delivered: the server does not answer")
                task.cancel()

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._slots.release()

    async def _execute(self, execution: Execution, job: Job) -> None:
        try:
            await execution.run()
        except Exception:
            logger.exception("job %d broke", job.id)  # one job must not take the others down with it
            await self._give_back(job)

    async def _give_back(self, job: Job) -> None:
        """The server learns that it cannot be run here, and need not wait for a sign of life."""
        await self._protocol.put_state(job.id, job.token, "failed", failure_reason=SYSTEM)

    async def _understood(self, payload: Mapping[str, Any]) -> Job:
        try:
            return parse(payload)
        except BadPayload:
            match payload:
                case {"id": int(id), "token": str(token)}:  # else nobody can be told
                    await self._protocol.put_state(id, token, "failed", failure_reason=SYSTEM)
            raise

    async def _next_job(self) -> Job | None:
        """Nothing once this runner leaves."""
        loop = asyncio.get_running_loop()
        refusals = pauses(first=1, longest=60)
        while not self._leaving:
            asked_at = loop.time()
            try:
                offer = await self._ask()
                self._last_update = offer.last_update or self._last_update
                if offer.payload is not None:
                    return await self._understood(offer.payload)
                if offer.status != 204:
                    raise Refused(offer.status, "this runner is not known" if offer.status == 403 else "no job")
            except (Refused, BadPayload) as error:
                logger.error("asking for a job: %s", error)
                await asyncio.sleep(next(refusals))
                continue
            refusals = pauses(first=1, longest=60)
            if loop.time() - asked_at < 1:  # the server did not hold the request: go easy on it
                await asyncio.sleep(random.uniform(0.8, 1.2))  # noqa: S311
        return None

    async def _ask(self) -> Offer:
        self._asking = True
        try:
            return await self._protocol.request_job(self._config.token, self._config.system_id, self._last_update)
        finally:
            self._asking = False


async def run(config: Config, *, stop: asyncio.Event, once: bool = False, for_good: bool = False) -> None:
    """Serve until `stop` is set, or until one job has ended. `for_good`: nobody will find what is left behind."""
    await _remove_left_containers(config)
    with run_folder(Path(config.builds_dir)) as folder, Nursery(folder) as nursery:
        async with Protocol(config.url, config.executor, config.ca_file) as protocol, asyncio.TaskGroup() as jobs:
            runner = Runner(config, protocol, folder, nursery, jobs)
            logger.info("agent %s asks %s for jobs, %d at a time", config.name, config.url, config.concurrency)
            serving = jobs.create_task(runner.serve(once=once))
            stopped = jobs.create_task(stop.wait())
            await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
            if for_good:
                await runner.hear_out(serving)
            serving.cancel()
            stopped.cancel()
            await runner.drain()
    logger.info("agent %s left", config.name)


async def _remove_left_containers(config: Config) -> None:
    if config.executor == "shell":
        return
    engine = Engine(socket_path(config.docker.socket))
    try:
        if await engine.answers():
            await sweep(engine, config)
        else:
            logger.warning("no Docker engine answers at %s", socket_path(config.docker.socket))
    except EngineError as error:
        logger.warning("containers of an earlier run are left: %s", error)
    finally:
        await engine.close()
