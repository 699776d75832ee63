"""One job from its first call to its last: checkout, steps in order, result."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from pathlib import Path

from agent.artifacts import ArtifactsFailed, Exchange
from agent.cache import Caches
from agent.config import Config
from agent.delivery import Abandoned, Delivery, Outcome
from agent.engine import EngineError
from agent.executor import Executor, choose
from agent.job import Job, Step
from agent.nursery import Nursery
from agent.protocol import Protocol
from agent.strays import clear
from agent.trace import Trace
from agent.workspace import CheckoutFailed, Workspace, mask, script_of
from libs.git import without_credentials
from libs.markers import job_marker, words_in
from libs.masking import MaskedStream
from libs.observability.tracing import SpanKind, begun, child
from libs.version import VERSION

logger = logging.getLogger("headrace.agent")

SUCCESS = Outcome("success")
AFTER_SECONDS = 300  # for what follows the script
UPLOAD_SECONDS = 900  # for artifacts
CANCELED = "job_canceled"
INTERRUPTED = "runner_interrupted"
TIMED_OUT = "job_execution_timeout"
SYSTEM = "runner_system_failure"
SCRIPT = "script_failure"
OUTSIDE = "runner_external_dependency_failure"


class Execution:
    def __init__(self, job: Job, config: Config, protocol: Protocol, folder: Path, nursery: Nursery) -> None:
        self._job = job
        self._config = config
        self._folder = folder
        self._nursery = nursery
        self._protocol = protocol
        self._trace = Trace(MaskedStream(mask(job)))
        self._delivery = Delivery(protocol, job, self._trace, on_cancel=lambda: self.interrupt(CANCELED))
        self._ending: str | None = None
        self._executor: Executor | None = None  # once the checkout is there
        self._begun = False  # the checkout is there and the script runs, or ran
        self._after = False  # the script is over
        self._limit: asyncio.Timeout | None = None

    def interrupt(self, reason: str = INTERRUPTED) -> None:
        """Stop what runs now; the job is then reported as failed for the first reason given."""
        if reason == CANCELED and self._after:
            return  # a server repeats its wish, and must not stop the clean-up by it
        self._ending = self._ending or reason
        if self._limit is not None and not self._limit.expired():
            self._limit.reschedule(0)

    async def run(self) -> None:
        logger.info("job %d (%s) starts", self._job.id, self._job.name)
        # a trace of its own, linked to the launch: time has passed
        tracing = begun(
            f"job {self._job.name}", SpanKind.CONSUMER, None, {"headrace.job.id": self._job.id}, self._job.traceparent
        )
        try:
            with tracing as span, self._trace:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._delivery.follow())
                    outcome = await self._perform()
                    span.set_attribute("headrace.outcome", outcome.reason or outcome.state)
                    self._trace.close()
                await self._delivery.finish(outcome)
            logger.info("job %d ended: %s", self._job.id, outcome.reason or outcome.state)
        except* Abandoned as gone:
            logger.warning("job %d dropped: the server says %s", self._job.id, gone.exceptions[0])
        finally:
            if not await asyncio.shield(asyncio.to_thread(clear, self._folder)):
                logger.warning("job %d: %s could not be removed", self._job.id, self._folder)

    async def _perform(self) -> Outcome:
        job, trace = self._job, self._trace
        for word in words_in(script_of(job)):
            trace.write(job_marker(word, int(time.time() * 1000)))
        trace.line(f"Running with headrace-agent {VERSION} on {self._config.name}")
        clock = asyncio.get_running_loop().time
        end = clock() + job.timeout
        workspace: Workspace | None = None
        try:
            workspace = Workspace(self._folder, job)
            outcome = await self._limited(0 if self._ending else job.timeout, self._build(workspace))
            self._after = True
            seconds = AFTER_SECONDS if outcome.reason == CANCELED else min(AFTER_SECONDS, end - clock())
            if self._executor and self._begun and seconds > 0 and outcome.reason != INTERRUPTED:
                await self._limited(seconds, self._steps(self._executor, outcome))
            await self._close_executor()  # nothing of the job changes its files any more
            if self._begun and outcome.reason != INTERRUPTED:
                left = await self._limited(UPLOAD_SECONDS, self._leave(workspace, outcome))
                outcome = left if outcome is SUCCESS else outcome
        except CheckoutFailed as error:
            trace.line(f"ERROR: {error}")
            outcome = Outcome("failed", OUTSIDE)
        except ArtifactsFailed as error:
            outcome = self._without_artifacts(error)
        except EngineError as error:
            trace.line(f"ERROR: {error}")
            outcome = Outcome("failed", error.reason)
        except (OSError, ValueError) as error:  # a variable that no process can take, a full disk, no git
            trace.line(f"ERROR: {error}")
            outcome = Outcome("failed", SYSTEM)
        finally:
            await self._close_executor()
            if workspace is not None:
                workspace.close()
        trace.line(self._verdict(outcome))
        return outcome

    async def _close_executor(self) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            await asyncio.shield(executor.close())

    def _verdict(self, outcome: Outcome) -> str:
        match outcome:
            case Outcome(state="success"):
                return "Job succeeded"
            case Outcome(exit_code=int(code)):
                return f"ERROR: Job failed: exit status {code}"
            case Outcome(reason="job_execution_timeout"):
                return f"ERROR: Job failed: it took longer than its time limit (the job's is {self._job.timeout} s)"
            case Outcome(reason="job_canceled"):
                return "ERROR: Job failed: cancelled"
            case Outcome(reason="runner_interrupted"):
                return "ERROR: Job failed: the agent is shutting down"
            case _:
                return "ERROR: Job failed: it could not be run"

    async def _limited(self, seconds: float, work: Coroutine[None, None, Outcome]) -> Outcome:
        """Do the work within the time, unless an interruption ends it earlier."""
        try:
            async with asyncio.timeout(seconds) as self._limit:
                return await work
        except TimeoutError:
            return Outcome("failed", self._ending or TIMED_OUT)
        finally:
            self._limit = None

    async def _build(self, workspace: Workspace) -> Outcome:
        for name in workspace.unusable:
            self._trace.line(f"WARNING: {name!r} is no usable name of a variable; it is left out")
        if source := self._job.source:
            self._trace.line(f"Cloning {without_credentials(source.url)[0]}")
            self._trace.line(
                f"Checking out {source.sha[:8]}" + (f" as detached HEAD (ref is {source.ref})" * bool(source.ref))
            )
            with child("check out"):
                await workspace.check_out(source, self._nursery, self._trace.write)
        await self._delivery.accepted.wait()
        exchange = self._exchange(workspace)
        with child("restore caches"):
            await self._caches(exchange).restore(workspace.checkout, workspace.environment)
        with child("fetch artifacts"):
            await exchange.fetch()
        self._executor = await choose(self._config, self._job, workspace, self._nursery, self._trace)
        await self._executor.prepare()
        self._begun = True
        return await self._steps(self._executor, SUCCESS)

    async def _leave(self, workspace: Workspace, outcome: Outcome) -> Outcome:
        """Caches, then artifacts."""
        exchange, failed = self._exchange(workspace), outcome is not SUCCESS
        with child("save caches"):
            await self._caches(exchange).save(workspace.checkout, workspace.environment, failed=failed)
        try:
            with child("leave artifacts"):
                await exchange.leave(failed=failed)
        except ArtifactsFailed as error:
            return self._without_artifacts(error)
        return SUCCESS

    def _without_artifacts(self, error: ArtifactsFailed) -> Outcome:
        self._trace.line(f"ERROR: {error}")
        return Outcome("failed", SCRIPT if error.final else SYSTEM)

    def _caches(self, exchange: Exchange) -> Caches:
        return Caches(self._config, self._job, self._trace, exchange)

    def _exchange(self, workspace: Workspace) -> Exchange:
        return Exchange(
            self._protocol,
            self._job,
            self._trace,
            self._nursery,
            workspace.checkout,
            workspace.private,
            workspace.environment,
        )

    async def _steps(self, executor: Executor, outcome: Outcome) -> Outcome:
        """The script and what belongs to it; or, once that is over, what always follows and changes nothing."""
        for number, step in enumerate(self._job.steps):
            if step.always == self._after and step.runs_after(outcome is not SUCCESS):
                result = await self._step(executor, number, step, outcome)
                if outcome is SUCCESS and not step.allow_failure:
                    outcome = result
        return outcome

    async def _step(self, executor: Executor, number: int, step: Step, outcome: Outcome) -> Outcome:
        status = "canceled" if outcome.reason == CANCELED else outcome.state if number else "running"
        try:
            with child(f"step {step.name}") as span:
                async with asyncio.timeout(step.timeout or None):
                    code = await executor.run(number, step.script, {"CI_JOB_STATUS": status})
                span.set_attribute("process.exit.code", code)
        except TimeoutError:
            self._trace.line(f"ERROR: step {step.name} took longer than {step.timeout} s")
            return Outcome("failed", TIMED_OUT)
        return SUCCESS if code == 0 else Outcome("failed", SCRIPT, code)
