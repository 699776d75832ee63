"""The agent's main loop: asks for jobs while a slot is free, runs them side by side, drains on request."""

import asyncio
import logging
import random
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.config import Config
from agent.execution.job_execution import SYSTEM_FAILURE, JobExecution
from agent.executors.docker_client import DockerClient, DockerError, socket_path
from agent.executors.docker_executor import remove_orphans
from agent.processes.process_cleanup import create_run_directory
from agent.processes.process_spawner import ProcessSpawner
from agent.protocol.client import LONG_POLL_TIMEOUT_SECONDS, JobOffer, ProtocolClient, RequestFailed, backoff_delays
from agent.protocol.job import InvalidJob, Job, parse_job

logger = logging.getLogger("headrace.agent")

DISK_FULL_DELAY_SECONDS = 5.0  # until the next job is asked for
REPORT_TIMEOUT_SECONDS = 4.0  # for killing the jobs that did not finish in time, and for reporting them


class Runner:
    def __init__(
        self, config: Config, protocol: ProtocolClient, folder: Path, nursery: ProcessSpawner, jobs: asyncio.TaskGroup
    ) -> None:
        self._config = config
        self._protocol = protocol
        self._folder = folder
        self._spawner = nursery
        self._jobs = jobs
        self._slots = asyncio.Semaphore(config.concurrency)
        self._last_update: str | None = None
        self._running: dict[asyncio.Task[None], JobExecution] = {}
        self._is_polling = False
        self._is_draining = False

    async def serve(self, *, once: bool) -> None:
        while not self._is_draining:
            await self._slots.acquire()
            job = await self._next_job()
            if job is None:
                return
            try:
                folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"job-{job.id}-"))
                execution = JobExecution(job, self._config, self._protocol, folder, self._spawner)
            except OSError as error:  # a full disk: the jobs that run may make room
                logger.error("job %d cannot begin here: %s", job.id, error)
                self._slots.release()
                await self._report_failure(job)
                await asyncio.sleep(DISK_FULL_DELAY_SECONDS)
                continue
            task = self._jobs.create_task(self._execute(execution, job))
            self._running[task] = execution
            task.add_done_callback(self._on_job_done)
            if once:
                await asyncio.wait([task])
                return

    async def finish_pending_poll(self, serving: asyncio.Task[None]) -> None:
        """Ask no more, but wait for what was asked: a job may be on its way here."""
        self._is_draining = True
        logger.info("asking for no more jobs")
        if self._is_polling:
            await asyncio.wait([serving], timeout=LONG_POLL_TIMEOUT_SECONDS)

    async def drain(self) -> None:
        """Let the jobs finish in time; then kill them, report that, and leave."""
        if not self._running:
            return
        logger.info("waiting up to %g s for %d running jobs", self._config.grace_seconds, len(self._running))
        _, late = await asyncio.wait(self._running, timeout=self._config.grace_seconds)
        for task in late:
            self._running[task].interrupt()
        if late:
            _, silent = await asyncio.wait(late, timeout=REPORT_TIMEOUT_SECONDS)
            for task in silent:
                logger.error("a result could not be delivered: the server does not answer")
                task.cancel()

    def _on_job_done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._slots.release()

    async def _execute(self, execution: JobExecution, job: Job) -> None:
        try:
            await execution.run()
        except Exception:
            logger.exception("job %d broke", job.id)  # one job must not take the others down with it
            await self._report_failure(job)

    async def _report_failure(self, job: Job) -> None:
        """The server learns that it cannot be run here, and need not wait for a sign of life."""
        await self._protocol.put_state(job.id, job.token, "failed", failure_reason=SYSTEM_FAILURE)

    async def _parse_or_reject(self, payload: Mapping[str, Any]) -> Job:
        try:
            return parse_job(payload)
        except InvalidJob:
            match payload:
                case {"id": int(id), "token": str(token)}:  # else nobody can be told
                    await self._protocol.put_state(id, token, "failed", failure_reason=SYSTEM_FAILURE)
            raise

    async def _next_job(self) -> Job | None:
        """Nothing once this runner leaves."""
        loop = asyncio.get_running_loop()
        refusals = backoff_delays(initial=1, maximum=60)
        while not self._is_draining:
            asked_at = loop.time()
            try:
                offer = await self._poll()
                self._last_update = offer.last_update or self._last_update
                if offer.payload is not None:
                    return await self._parse_or_reject(offer.payload)
                if offer.status != 204:
                    raise RequestFailed(offer.status, "this runner is not known" if offer.status == 403 else "no job")
            except (RequestFailed, InvalidJob) as error:
                logger.error("asking for a job: %s", error)
                await asyncio.sleep(next(refusals))
                continue
            refusals = backoff_delays(initial=1, maximum=60)
            if loop.time() - asked_at < 1:  # the server did not hold the request: go easy on it
                await asyncio.sleep(random.uniform(0.8, 1.2))  # noqa: S311
        return None

    async def _poll(self) -> JobOffer:
        self._is_polling = True
        try:
            return await self._protocol.request_job(self._config.token, self._config.system_id, self._last_update)
        finally:
            self._is_polling = False


async def run(config: Config, *, stop: asyncio.Event, once: bool = False, ephemeral: bool = False) -> None:
    """Serve until `stop` is set, or until one job has ended. `for_good`: nobody will find what is left behind."""
    await _remove_orphaned_containers(config)
    with create_run_directory(Path(config.builds_dir)) as folder, ProcessSpawner(folder) as nursery:
        async with ProtocolClient(config.url, config.executor, config.ca_file) as protocol, asyncio.TaskGroup() as jobs:
            runner = Runner(config, protocol, folder, nursery, jobs)
            logger.info("agent %s asks %s for jobs, %d at a time", config.name, config.url, config.concurrency)
            serving = jobs.create_task(runner.serve(once=once))
            stopped = jobs.create_task(stop.wait())
            await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
            if ephemeral:
                await runner.finish_pending_poll(serving)
            serving.cancel()
            stopped.cancel()
            await runner.drain()
    logger.info("agent %s left", config.name)


async def _remove_orphaned_containers(config: Config) -> None:
    if config.executor == "shell":
        return
    engine = DockerClient(socket_path(config.docker.socket))
    try:
        if await engine.ping():
            await remove_orphans(engine, config)
        else:
            logger.warning("no Docker engine answers at %s", socket_path(config.docker.socket))
    except DockerError as error:
        logger.warning("containers of an earlier run are left: %s", error)
    finally:
        await engine.close()
