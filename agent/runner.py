"""The agent's main loop: requests jobs while slots are free, runs them concurrently, and drains at shutdown."""

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
from agent.processes.process_spawner import ProcessSpawner
from agent.processes.run_directories import create_run_directory
from agent.protocol.client import LONG_POLL_TIMEOUT_SECONDS, ProtocolClient
from agent.protocol.job import InvalidJob, Job, parse_job
from agent.protocol.responses import JobOffer, RequestFailed
from libs.backoff import backoff_delays

logger = logging.getLogger("headrace.agent")

DISK_FULL_DELAY_SECONDS = 5.0  # pause before the next job request while the disk is full
REPORT_TIMEOUT_SECONDS = 4.0  # to end and report the remaining jobs after the grace period


class Runner:
    """One registered runner: requests jobs and executes up to `concurrency` of them at a time."""

    def __init__(
        self, config: Config, protocol: ProtocolClient, folder: Path, spawner: ProcessSpawner, jobs: asyncio.TaskGroup
    ) -> None:
        self._config = config
        self._protocol = protocol
        self._folder = folder
        self._spawner = spawner
        self._jobs = jobs
        self._slots = asyncio.Semaphore(config.concurrency)
        self._last_update: str | None = None
        self._running: dict[asyncio.Task[None], JobExecution] = {}
        self._is_polling = False
        self._is_draining = False

    async def serve(self, *, once: bool) -> None:
        """Request and execute jobs until the runner drains or, with `once`, until it has executed one job."""
        while not self._is_draining:
            await self._slots.acquire()
            job = await self._next_job()
            if job is None:
                return
            try:
                folder = Path(tempfile.mkdtemp(dir=self._folder, prefix=f"job-{job.id}-"))
                execution = JobExecution(job, self._config, self._protocol, folder, self._spawner)
            except OSError as error:  # such as a full disk; running jobs may free space when they finish
                logger.error("job %d could not be started: %s", job.id, error)
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
        """Send no more job requests, but wait for the response to the pending one, which may contain a job."""
        self._is_draining = True
        logger.info("requesting no more jobs")
        if self._is_polling:
            await asyncio.wait([serving], timeout=LONG_POLL_TIMEOUT_SECONDS)

    async def drain(self) -> None:
        """Wait for running jobs up to the grace period. Then interrupt the others and report them as failed."""
        if not self._running:
            return
        logger.info("waiting up to %g s for %d running jobs", self._config.grace_seconds, len(self._running))
        _, unfinished = await asyncio.wait(self._running, timeout=self._config.grace_seconds)
        for task in unfinished:
            self._running[task].interrupt()
        if unfinished:
            _, unreported = await asyncio.wait(unfinished, timeout=REPORT_TIMEOUT_SECONDS)
            for task in unreported:
                logger.error("the result of a job could not be reported: the server does not respond")
                task.cancel()

    def _on_job_done(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._slots.release()

    async def _execute(self, execution: JobExecution, job: Job) -> None:
        try:
            await execution.run()
        except Exception:
            logger.exception("job %d failed unexpectedly", job.id)  # other jobs must continue
            await self._report_failure(job)

    async def _report_failure(self, job: Job) -> None:
        """Report a job that cannot run here as failed, so that the server does not wait for the end of the lease."""
        await self._protocol.put_state(job.id, job.token, "failed", failure_reason=SYSTEM_FAILURE)

    async def _parse_or_reject(self, payload: Mapping[str, Any]) -> Job:
        """Parse the job. If it is invalid, report it as failed and raise InvalidJob."""
        try:
            return parse_job(payload)
        except InvalidJob:
            match payload:
                case {"id": int(id), "token": str(token)}:  # without an id and a token, a job cannot be reported
                    await self._protocol.put_state(id, token, "failed", failure_reason=SYSTEM_FAILURE)
            raise

    async def _next_job(self) -> Job | None:
        """Request jobs until the server offers one. Return None once the runner drains."""
        loop = asyncio.get_running_loop()
        delays = backoff_delays(initial=1, maximum=60)
        while not self._is_draining:
            requested_at = loop.time()
            try:
                offer = await self._poll()
                self._last_update = offer.last_update or self._last_update
                if offer.payload is not None:
                    return await self._parse_or_reject(offer.payload)
                if offer.status != 204:
                    raise RequestFailed(
                        offer.status, "the server does not know this runner" if offer.status == 403 else "no job"
                    )
            except (RequestFailed, InvalidJob) as error:
                logger.error("job request failed: %s", error)
                await asyncio.sleep(next(delays))
                continue
            delays = backoff_delays(initial=1, maximum=60)
            if loop.time() - requested_at < 1:  # a server that does not hold requests: limit the rate
                await asyncio.sleep(random.uniform(0.8, 1.2))  # noqa: S311
        return None

    async def _poll(self) -> JobOffer:
        self._is_polling = True
        try:
            return await self._protocol.request_job(self._config.token, self._config.system_id, self._last_update)
        finally:
            self._is_polling = False


async def run(config: Config, *, stop: asyncio.Event, once: bool = False, ephemeral: bool = False) -> None:
    """Request and execute jobs of one runner until `stop` is set or, with `once`, until one job is finished.

    `ephemeral`: the caller unregisters the runner afterwards. If the pending request receives a job, that job runs
    first.
    """
    await _remove_orphaned_containers(config)
    with (
        create_run_directory(Path(config.builds_dir)) as folder,
        ProcessSpawner(folder, config.limits.by_name) as spawner,
    ):
        async with ProtocolClient(config.url, config.executor, config.ca_file) as protocol, asyncio.TaskGroup() as jobs:
            runner = Runner(config, protocol, folder, spawner, jobs)
            logger.info(
                "agent %s requests jobs from %s, up to %d at a time", config.name, config.url, config.concurrency
            )
            serving = jobs.create_task(runner.serve(once=once))
            stopped = jobs.create_task(stop.wait())
            await asyncio.wait([serving, stopped], return_when=asyncio.FIRST_COMPLETED)
            if ephemeral:
                await runner.finish_pending_poll(serving)
            serving.cancel()
            stopped.cancel()
            await runner.drain()
    logger.info("agent %s stopped", config.name)


async def _remove_orphaned_containers(config: Config) -> None:
    if config.executor == "shell":
        return
    client = DockerClient(socket_path(config.docker.socket))
    try:
        if await client.ping():
            await remove_orphans(client, config)
        else:
            logger.warning("Docker is not available at %s", socket_path(config.docker.socket))
    except DockerError as error:
        logger.warning("orphaned containers of an earlier run could not be removed: %s", error)
    finally:
        await client.close()
