"""The execution of one job: checkout, caches, artifacts, steps, report."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from pathlib import Path

from agent.artifacts.artifact_transfer import ArtifactTransfer, ArtifactTransferFailed
from agent.artifacts.job_caches import JobCaches
from agent.checkouts.checkout import Checkout
from agent.checkouts.git_commands import CheckoutError
from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.job_reporter import JobAborted, JobReporter, Outcome
from agent.execution.workspace import Workspace, create_masker, join_scripts
from agent.executors.errors import ExecutorError
from agent.executors.executor import Executor, choose_executor
from agent.processes.job_spawner import JobSpawner
from agent.processes.process_cleanup import kill_and_remove
from agent.protocol.client import ProtocolClient
from agent.protocol.job import Job, Step
from libs.git_env import split_credentials
from libs.observability.tracing import SpanKind, child_span, open_span
from libs.section_markers import find_nonces, format_job_marker
from libs.security.masking import MaskedStream
from libs.version import VERSION

logger = logging.getLogger("headrace.agent")

SUCCESS = Outcome("success")
AFTER_SCRIPT_SECONDS = 300  # limit of the after-script
UPLOAD_TIMEOUT_SECONDS = 900  # limit for saving caches and uploading artifacts together
CANCELED = "job_canceled"
INTERRUPTED = "runner_interrupted"
TIMED_OUT = "job_execution_timeout"
SYSTEM_FAILURE = "runner_system_failure"
SCRIPT_FAILURE = "script_failure"
EXTERNAL_FAILURE = "runner_external_dependency_failure"


class JobExecution:
    def __init__(self, job: Job, config: Config, protocol: ProtocolClient, folder: Path, spawner: JobSpawner) -> None:
        self._job = job
        self._config = config
        self._folder = folder
        self._spawner = spawner
        self._protocol = protocol
        self._log = JobLog(MaskedStream(create_masker(job)))
        self._reporter = JobReporter(protocol, job, self._log, on_cancel=lambda: self.interrupt(CANCELED))
        self._interruption: str | None = None
        self._executor: Executor | None = None  # None before the executor is prepared, and after it is closed
        self._script_started = False
        self._script_finished = False
        self._timeout: asyncio.Timeout | None = None

    def interrupt(self, reason: str = INTERRUPTED) -> None:
        """Interrupt the current phase. The job fails with the `reason` of the first interruption."""
        if reason == CANCELED and self._script_finished:
            return  # the server repeats a cancel request, which must not interrupt the after-script
        self._interruption = self._interruption or reason
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(0)

    async def run(self) -> None:
        """Execute the job and report its result. Then kill its processes and remove its folder."""
        logger.info("job %d (%s) started", self._job.id, self._job.name)
        # a new trace, linked to the trace of the build's launch, because the job may have waited for a long time
        job_span = open_span(
            f"job {self._job.name}", SpanKind.CONSUMER, None, {"headrace.job.id": self._job.id}, self._job.traceparent
        )
        try:
            with job_span as span, self._log:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._reporter.send_log())
                    outcome = await self._run_phases()
                    span.set_attribute("headrace.outcome", outcome.reason or outcome.state)
                    self._log.close()
                await self._reporter.report_result(outcome)
            logger.info("job %d finished: %s", self._job.id, outcome.reason or outcome.state)
        except* JobAborted as aborted:
            logger.warning("job %d aborted by the server: %s", self._job.id, aborted.exceptions[0])
        finally:
            if not await asyncio.shield(asyncio.to_thread(self._clean_up)):
                logger.warning("job %d: folder %s could not be removed completely", self._job.id, self._folder)

    def _clean_up(self) -> bool:
        """Kill the job's processes and remove its files. Return whether all of its folder is gone."""
        if not self._spawner.kill_all():
            logger.error("job %d: processes of the job could not be killed", self._job.id)
        if user := self._spawner.user:
            user.remove_leftovers()
        if group := self._spawner.group:
            group.remove()
        return kill_and_remove(self._folder, self._spawner.ancestor)

    async def _run_phases(self) -> Outcome:
        """Run checkout, script, after-script and uploads. Write errors and the result to the log. Return the result."""
        job, log = self._job, self._log
        for nonce in find_nonces(join_scripts(job)):
            log.write(format_job_marker(nonce, int(time.time() * 1000)))
        log.write_line(f"Running with headrace-agent {VERSION} on {self._config.name}")
        clock = asyncio.get_running_loop().time
        deadline = clock() + job.timeout
        workspace: Workspace | None = None
        try:
            workspace = Workspace(self._folder, job, self._spawner.user, self._config.git_settings)
            outcome = await self._run_with_timeout(
                0 if self._interruption else job.timeout, self._run_script(workspace)
            )
            self._script_finished = True
            seconds = (
                AFTER_SCRIPT_SECONDS if outcome.reason == CANCELED else min(AFTER_SCRIPT_SECONDS, deadline - clock())
            )
            if self._executor and self._script_started and seconds > 0 and outcome.reason != INTERRUPTED:
                await self._run_with_timeout(seconds, self._run_steps(self._executor, outcome))
            if self._executor and self._script_started and outcome.reason != INTERRUPTED:
                await self._executor.collect()
            await self._close_executor()  # ends all processes that could change files during the uploads
            if self._script_started and outcome.reason != INTERRUPTED:
                upload_outcome = await self._run_with_timeout(
                    UPLOAD_TIMEOUT_SECONDS, self._upload_results(workspace, outcome)
                )
                outcome = upload_outcome if outcome is SUCCESS else outcome
        except CheckoutError as error:
            log.write_line(f"ERROR: {error}")
            outcome = Outcome("failed", EXTERNAL_FAILURE)
        except ArtifactTransferFailed as error:
            outcome = self._fail_transfer(error)
        except ExecutorError as error:
            log.write_line(f"ERROR: {error}")
            outcome = Outcome("failed", error.reason)
        except (OSError, ValueError) as error:  # such as a full disk, or a variable that is too large
            log.write_line(f"ERROR: {error}")
            outcome = Outcome("failed", SYSTEM_FAILURE)
        finally:
            await self._close_executor()
            if workspace is not None:
                workspace.close()
        log.write_line(self._result_line(outcome))
        return outcome

    async def _close_executor(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.shield(executor.close())

    def _result_line(self, outcome: Outcome) -> str:
        match outcome:
            case Outcome(state="success"):
                return "Job succeeded"
            case Outcome(exit_code=int(code)):
                return f"ERROR: Job failed: exit status {code}"
            case Outcome(reason="job_execution_timeout"):
                return f"ERROR: Job failed: time limit exceeded (the limit of the job is {self._job.timeout} s)"
            case Outcome(reason="job_canceled"):
                return "ERROR: Job failed: canceled"
            case Outcome(reason="runner_interrupted"):
                return "ERROR: Job failed: the agent is shutting down"
            case _:
                return "ERROR: Job failed: see the errors above"

    async def _run_with_timeout(self, seconds: float, work: Coroutine[None, None, Outcome]) -> Outcome:
        """Return the outcome of `work`, or a failed outcome after `seconds` or an interruption."""
        try:
            async with asyncio.timeout(seconds) as self._timeout:
                return await work
        except TimeoutError:
            return Outcome("failed", self._interruption or TIMED_OUT)
        finally:
            self._timeout = None

    async def _run_script(self, workspace: Workspace) -> Outcome:
        """Check out the commit, restore caches, download artifacts, and run the script. Return its outcome."""
        for name in workspace.invalid_names:
            self._log.write_line(f"WARNING: {name!r} is not a valid variable name; the variable is ignored")
        if source := self._job.source:
            self._log.write_line(f"Cloning {split_credentials(source.url)[0]}")
            self._log.write_line(
                f"Checking out {source.sha[:8]}" + (f" as detached HEAD (ref is {source.ref})" * bool(source.ref))
            )
            with child_span("check out"):
                await Checkout(self._job, self._config, workspace, self._spawner, self._log.write).create(source)
        await self._reporter.accepted.wait()
        transfer = self._create_transfer(workspace)
        with child_span("restore caches"):
            await self._create_caches(transfer).restore(workspace)
        with child_span("download artifacts"):
            await transfer.download()
        self._executor = await choose_executor(self._config, self._job, workspace, self._spawner, self._log)
        await self._executor.prepare()
        self._script_started = True
        return await self._run_steps(self._executor, SUCCESS)

    async def _upload_results(self, workspace: Workspace, outcome: Outcome) -> Outcome:
        """Save caches, then upload artifacts. Return a failed outcome if artifacts could not be uploaded."""
        transfer, failed = self._create_transfer(workspace), outcome is not SUCCESS
        with child_span("save caches"):
            await self._create_caches(transfer).save(workspace, failed=failed)
        try:
            with child_span("upload artifacts"):
                await transfer.upload(failed=failed)
        except ArtifactTransferFailed as error:
            return self._fail_transfer(error)
        except (OSError, ValueError) as error:  # such as a full disk, or a file that the agent may not read
            return self._fail_transfer(ArtifactTransferFailed(str(error), is_permanent=False))
        return SUCCESS

    def _fail_transfer(self, error: ArtifactTransferFailed) -> Outcome:
        self._log.write_line(f"ERROR: {error}")
        return Outcome("failed", SCRIPT_FAILURE if error.is_permanent else SYSTEM_FAILURE)

    def _create_caches(self, transfer: ArtifactTransfer) -> JobCaches:
        return JobCaches(self._config, self._job, self._log, transfer)

    def _create_transfer(self, workspace: Workspace) -> ArtifactTransfer:
        return ArtifactTransfer(self._protocol, self._job, self._log, self._spawner, workspace, self._config.archives)

    async def _run_steps(self, executor: Executor, outcome: Outcome) -> Outcome:
        """Run the steps of the current phase and return the outcome after them.

        The phase is the script until it has finished, then the after-script. Callers ignore the outcome of the
        after-script.
        """
        for number, step in enumerate(self._job.steps):
            if step.runs_always == self._script_finished and step.runs_after(outcome is not SUCCESS):
                result = await self._run_step(executor, number, step, outcome)
                if outcome is SUCCESS and not step.allow_failure:
                    outcome = result
        return outcome

    async def _run_step(self, executor: Executor, number: int, step: Step, outcome: Outcome) -> Outcome:
        status = "canceled" if outcome.reason == CANCELED else outcome.state if number else "running"
        try:
            with child_span(f"step {step.name}") as span:
                async with asyncio.timeout(step.timeout or None):
                    code = await executor.run(number, step.script, {"CI_JOB_STATUS": status})
                span.set_attribute("process.exit.code", code)
        except TimeoutError:
            self._log.write_line(f"ERROR: step {step.name} took longer than its limit of {step.timeout} s")
            return Outcome("failed", TIMED_OUT)
        return SUCCESS if code == 0 else Outcome("failed", SCRIPT_FAILURE, code)
