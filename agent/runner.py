"""The agent's main loop: requests jobs while slots are free, runs them concurrently, and drains at shutdown."""

import asyncio
import contextlib
import logging
import os
import random
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from agent.config import Config, ConfigError
from agent.execution.job_execution import SYSTEM_FAILURE, JobExecution
from agent.executors.docker_client import DockerClient, socket_path
from agent.executors.docker_containers import remove_orphans as remove_orphaned_containers
from agent.executors.errors import ExecutorError
from agent.executors.kubernetes.cluster_client import KubernetesClient, server_address
from agent.executors.kubernetes.pod_executor import remove_orphans as remove_orphaned_pods
from agent.processes.control_groups import ControlGroups, open_control_groups
from agent.processes.job_spawner import JobSpawner
from agent.processes.job_users import JobUser, JobUserError, check_separation, resolve_job_users
from agent.processes.process_spawner import ProcessSpawner
from agent.processes.run_directories import create_run_directory
from agent.protocol.client import LONG_POLL_TIMEOUT_SECONDS, ProtocolClient
from agent.protocol.job import InvalidJob, Job, parse_job
from agent.protocol.responses import JobOffer, RequestFailed
from libs.backoff import backoff_delays

logger = logging.getLogger("headrace.agent")

DISK_FULL_DELAY_SECONDS = 5.0  # pause before the next job request while the disk is full
REPORT_TIMEOUT_SECONDS = 4.0  # limit for reporting the jobs that are interrupted after the grace period


class Runner:
    """One registered runner: requests jobs and executes up to `concurrency` of them at a time."""

    def __init__(
        self,
        config: Config,
        protocol: ProtocolClient,
        folder: Path,
        spawner: ProcessSpawner,
        jobs: asyncio.TaskGroup,
        users: Sequence[JobUser] = (),
        groups: ControlGroups | None = None,
    ) -> None:
        self._config = config
        self._protocol = protocol
        self._folder = folder
        self._spawner = spawner
        self._jobs = jobs
        self._slots = asyncio.Semaphore(config.concurrency)
        self._has_users = bool(users)
        self._free_users = list(users)
        self._groups = groups
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
                spawner = self._create_spawner(folder.name)
                execution = JobExecution(job, self._config, self._protocol, folder, spawner)
            except OSError as error:  # such as a full disk; running jobs may free space when they finish
                logger.error("job %d could not be started: %s", job.id, error)
                self._slots.release()
                await self._report_failure(job)
                await asyncio.sleep(DISK_FULL_DELAY_SECONDS)
                continue
            task = self._jobs.create_task(self._execute(execution, job))
            if spawner.user:
                self._free_users.remove(spawner.user)
                task.add_done_callback(partial(self._free_user, spawner))
            self._running[task] = execution
            task.add_done_callback(self._on_job_done)
            if once:
                await asyncio.wait([task])
                return

    async def finish_pending_poll(self, serving: asyncio.Task[None]) -> None:
        """Send no more job requests, but wait for the response to the pending one, which may contain a job.

        Waits for at most LONG_POLL_TIMEOUT_SECONDS.
        """
        self._is_draining = True
        logger.info("requesting no more jobs")
        if self._is_polling:
            await asyncio.wait([serving], timeout=LONG_POLL_TIMEOUT_SECONDS)

    async def drain(self) -> None:
        """Wait for running jobs up to the grace period. Then interrupt the others, which report that they failed.

        Jobs that have not reported after REPORT_TIMEOUT_SECONDS are canceled.
        """
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

    def _create_spawner(self, name: str) -> JobSpawner:
        if self._has_users and not self._free_users:
            raise OSError("processes of earlier jobs could not be killed, so that no job user is free")
        user = self._free_users[-1] if self._has_users else None
        return JobSpawner(self._spawner, user, self._groups.create(name) if self._groups else None)

    def _free_user(self, spawner: JobSpawner, _task: asyncio.Task[None]) -> None:
        """Make the job's user available for another job, unless processes of this job are still alive."""
        if spawner.user and not spawner.may_have_processes:
            self._free_users.append(spawner.user)

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


def check_isolation(config_file: Path, *runners: Config) -> None:
    """Check that jobs can be limited, and that job users are separated from the agent and from each other.

    Raises ConfigError.
    """
    try:
        resolve_job_users([name for runner in runners for name in runner.job_users])
        for runner in runners:
            open_control_groups(runner.job_limits.by_file)
            if users := resolve_job_users(runner.job_users):
                os.setgroups([])  # a job user's file access must not have the groups of the agent's user
                Path(runner.builds_dir).mkdir(parents=True, exist_ok=True)
                check_separation(users, config_file, Path(runner.builds_dir))
    except (OSError, JobUserError) as error:
        raise ConfigError(str(error)) from error


async def run(config: Config, *, stop: asyncio.Event, once: bool = False, ephemeral: bool = False) -> None:
    """Request and execute jobs of one runner until `stop` is set or, with `once`, until one job is finished.

    `ephemeral`: the caller unregisters the runner afterwards. If the pending request receives a job, that job runs
    first.
    """
    await _remove_orphans(config)
    users = resolve_job_users(config.job_users)
    groups = open_control_groups(config.job_limits.by_file)
    with (
        create_run_directory(Path(config.builds_dir)) as folder,
        ProcessSpawner(folder, config.limits.by_name) as spawner,
    ):
        async with ProtocolClient(config.url, config.executor, config.ca_file) as protocol, asyncio.TaskGroup() as jobs:
            if users:
                folder.chmod(0o711)
                for user in users:
                    JobSpawner(spawner, user).kill_all()  # processes of an earlier run that was killed
            runner = Runner(config, protocol, folder, spawner, jobs, users, groups)
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


async def _remove_orphans(config: Config) -> None:
    """Remove containers or pods of an earlier run. Failures are logged."""
    if config.executor == "shell":
        return
    try:
        if config.executor == "kubernetes":
            async with contextlib.aclosing(KubernetesClient(config.kubernetes.namespace, server_address())) as cluster:
                await remove_orphaned_pods(cluster, config)
        else:
            async with contextlib.aclosing(DockerClient(socket_path(config.docker.socket))) as docker:
                await remove_orphaned_containers(docker, config)
    except ExecutorError as error:
        logger.warning("containers of an earlier run could not be removed: %s", error)
