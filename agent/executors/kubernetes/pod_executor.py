"""The executor that runs the steps of a job in a pod of its own, created through the Kubernetes API.

The agent checks out the commit and copies it into the pod; after the last step it copies the files back if the job has
artifacts or caches. Scripts and environments of steps contain secrets, and are therefore sent to the running container:
they are in no object of the cluster and in no audit log of its API.
"""

import asyncio
import logging
import shlex
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

from agent.config import Config
from agent.execution.job_log import JobLog
from agent.execution.workspace import Workspace
from agent.executors.container_steps import exited_at_once, run_step, step_environment
from agent.executors.errors import PULL_FAILURE
from agent.executors.kubernetes.cluster_client import KILLED_EXIT_STATUS, KubernetesClient, KubernetesError
from agent.executors.kubernetes.pod import (
    AGENT_LABEL,
    BUILD_CONTAINER,
    JOB_LABEL,
    MANAGER_LABEL,
    build_pod,
    pod_name,
)
from agent.executors.kubernetes.transfer import Received, pack_files, read_chunks, replace_checkout
from agent.executors.services import service_aliases, service_environment
from agent.processes.program import interpreter_command
from agent.protocol.job import Image, Job

logger = logging.getLogger("headrace.agent")

POLL_SECONDS = 0.5
DRAIN_SECONDS = 0.2  # time in which the last output of a step arrives after its exit
LIFETIME_MARGIN_SECONDS = 1800  # added to the job's time limit, for the after-script and transfers
TERMINAL_PHASES = ("Succeeded", "Failed")
PULL_FAILURES = ("ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName")
START_FAILURES = ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
# The environment arrives on stdin, as $1 bytes of assignments. The step's output goes to stdout, its exit status to
# stderr, because the output can stay open: a process that the step leaves behind inherits it.
STEP_SCRIPT = 'eval "$(head -c "$1")"; cd "$2"; shift 2; ("$@") 2>&1 </dev/null; echo $? >&2'
UNPACK_SCRIPT = 'head -c "$1" | tar -xof - -C "$2"'
SEND_SCRIPT = 'cd "$1" && tar -cf - --exclude=./.git .'


async def remove_orphans(client: KubernetesClient, config: Config) -> None:
    """Delete pods of earlier runs of this agent, and finished pods of all agents."""
    selector = ",".join(f"{key}={value}" for key, value in MANAGER_LABEL.items())
    for pod in await client.list_pods(selector):
        is_own = pod["metadata"]["labels"].get(AGENT_LABEL) == config.system_id
        if is_own or pod["status"].get("phase") in TERMINAL_PHASES:
            logger.info("removing orphaned pod %s", pod["metadata"]["name"])
            await client.delete_pod(pod["metadata"]["name"])


class KubernetesExecutor:
    def __init__(self, client: KubernetesClient, config: Config, job: Job, workspace: Workspace, log: JobLog) -> None:
        self._client = client
        self._config = config
        self._job = job
        self._workspace = workspace
        self._log = log
        self._variables = workspace.container_environment
        self._name = pod_name(job.id, workspace.folder)
        self._image = ""

    async def prepare(self) -> None:
        settings = self._config.kubernetes
        image = self._job.image or (Image(settings.image) if settings.image else None)
        if image is None:
            raise KubernetesError("the job has no image, and this agent's kubernetes.image sets no default")
        if self._job.logins:
            self._log.write_line(
                "WARNING: the project's registry logins are ignored: this agent pulls images with the secrets in "
                "kubernetes.image_pull_secrets only"
            )
        image, services = self._expand(image), [self._expand(service) for service in self._job.services]
        self._image = image.name
        pod = build_pod(
            settings,
            self._name,
            {AGENT_LABEL: self._config.system_id, JOB_LABEL: str(self._job.id)},
            (self._workspace.checkout, self._workspace.private),
            self._job.timeout + LIFETIME_MARGIN_SECONDS,
            image,
            [(service, service_environment(self._job, service, self._variables)) for service in services],
            [alias for service in services for alias in service_aliases(service)],
        )
        self._log.write_line(f"Starting pod {self._name} with image {image.name}")
        await self._client.create_pod(pod)
        await self._wait_until_running()
        self._workspace.make_readable(writable=True)  # the image determines the user, which the agent does not know
        await self._send(self._workspace.checkout, self._workspace.private)

    async def run(self, number: int, script: str, extra_environment: Mapping[str, str]) -> int:
        path = self._workspace.write_script(number, script)
        await self._send(path)
        step = self._run_step(path, step_environment(self._workspace, self._image, extra_environment))
        return await run_step(step, self._log, partial(self._signal, "TERM"), partial(self._signal, "KILL"))

    async def collect(self) -> None:
        if not (self._job.artifacts or self._job.caches):
            return
        limits = self._config.archives
        archive = self._workspace.folder / "collected.tar"
        received, messages = Received(archive, limits.megabytes * 1024 * 1024), bytearray()
        try:
            command = ["sh", "-c", SEND_SCRIPT, "sh", str(self._workspace.checkout)]
            status = await self._execute(command, output=received.write, errors=messages.extend)
        finally:
            received.close()
        if received.is_too_large:
            raise KubernetesError(f"the job's folder is larger than {limits.megabytes} MB (archives.megabytes)")
        if status != 0:
            raise KubernetesError(f"the files of the job could not be copied: {messages.decode(errors='replace')}")
        skipped = await asyncio.to_thread(replace_checkout, archive, self._workspace.checkout, limits)
        if skipped:
            self._log.write_line(f"WARNING: {skipped} special files or links out of the job's folder were not copied")

    async def close(self) -> None:
        try:
            await self._client.delete_pod(self._name)
        except KubernetesError as error:  # after the pod's lifetime, remove_orphans() of any agent deletes it
            logger.warning("job %d: %s", self._job.id, error)
        finally:
            await self._client.aclose()

    def _expand(self, image: Image) -> Image:
        return replace(image, name=Template(image.name).safe_substitute(self._variables))

    async def _wait_until_running(self) -> None:
        """Wait until all containers have started. Log a warning for services that have already ended.

        Raises KubernetesError if the pod does not start in time or the build container has ended.
        """
        deadline = asyncio.get_running_loop().time() + self._config.kubernetes.start_seconds
        reason = "it was not scheduled"
        while asyncio.get_running_loop().time() < deadline:
            status = (await self._client.get_pod(self._name))["status"]
            containers = status.get("containerStatuses", ())
            build = [container for container in containers if container["name"] == BUILD_CONTAINER]
            if build and all("waiting" not in container["state"] for container in containers):
                if "terminated" in build[0]["state"]:
                    raise await self._exited_at_once()
                await self._warn_ended_services(containers)
                return
            for condition in status.get("conditions", ()):
                if condition["type"] == "PodScheduled" and condition["status"] == "False":
                    reason = condition.get("message", reason)
            for container in containers:
                waiting = container["state"].get("waiting", {})
                reason = f"{waiting.get('reason', '')} {waiting.get('message', '')}".strip() or reason
                if waiting.get("reason") in PULL_FAILURES:
                    raise KubernetesError(f"image {container['image']} could not be pulled: {reason}", PULL_FAILURE)
                if waiting.get("reason") in START_FAILURES:
                    raise KubernetesError(f"a container of {container['image']} could not be started: {reason}")
            if status.get("phase") in TERMINAL_PHASES:
                raise KubernetesError(f"the job's pod ended: {status.get('reason', '')} {status.get('message', '')}")
            await asyncio.sleep(POLL_SECONDS)
        raise KubernetesError(f"the job's pod did not start within {self._config.kubernetes.start_seconds} s: {reason}")

    async def _exited_at_once(self) -> KubernetesError:
        self._log.write(await self._client.read_log(self._name, BUILD_CONTAINER, lines=50))
        return KubernetesError(exited_at_once(self._image))

    async def _warn_ended_services(self, containers: list[Any]) -> None:
        for container in containers:
            if container["name"] != BUILD_CONTAINER and "terminated" in container["state"]:
                self._log.write_line(f"WARNING: service {container['image']} ended. Its output:")
                self._log.write(await self._client.read_log(self._name, container["name"], lines=50))

    async def _send(self, *paths: Path) -> None:
        archive = self._workspace.folder / "sent.tar"
        size = await asyncio.to_thread(pack_files, archive, self._workspace.folder, *paths)
        messages = bytearray()
        command = ["sh", "-c", UNPACK_SCRIPT, "sh", str(size), str(self._workspace.folder)]
        status = await self._execute(command, messages.extend, messages.extend, read_chunks(archive))
        archive.unlink()
        if status != 0:
            raise KubernetesError(
                f"files could not be copied into the container, which needs sh, head and tar: "
                f"{messages.decode(errors='replace').strip()}"
            )

    async def _run_step(self, script: Path, environment: Mapping[str, str]) -> int:
        assignments = "".join(f"export {key}={shlex.quote(value)}\n" for key, value in environment.items()).encode()
        statuses: asyncio.Queue[bytes] = asyncio.Queue()
        interpreter = interpreter_command(self._config.shell)
        sizes = [str(len(assignments)), str(self._workspace.checkout)]
        command = ["sh", "-c", STEP_SCRIPT, "sh", *sizes, *interpreter, str(script)]
        execution = asyncio.create_task(
            self._execute(command, self._log.write, statuses.put_nowait, _single(assignments))
        )
        reported = asyncio.create_task(statuses.get())
        try:
            await asyncio.wait([execution, reported], return_when=asyncio.FIRST_COMPLETED)
            if not reported.done():
                await execution  # raises if the connection was lost
                return KILLED_EXIT_STATUS
            await asyncio.wait([execution], timeout=DRAIN_SECONDS)
            text = reported.result().decode(errors="replace").strip()
            return int(text) if text.isdecimal() else KILLED_EXIT_STATUS
        finally:
            for task in (execution, reported):
                task.cancel()
            await asyncio.gather(execution, reported, return_exceptions=True)

    async def _signal(self, signal: str) -> None:
        """Send a signal to all processes of the step."""
        await self._execute(["sh", "-c", f"kill -{signal} -1"], self._log.write, self._log.write)

    async def _execute(
        self, command: list[str], output: Any, errors: Any, stdin: AsyncIterator[bytes] | None = None
    ) -> int:
        return await self._client.execute(
            self._name, BUILD_CONTAINER, command, output=output, errors=errors, stdin=stdin
        )


async def _single(content: bytes) -> AsyncIterator[bytes]:
    yield content
