"""Servers in Docker containers (testcontainers), with the same arguments, ports and files as the child processes."""

import os
from urllib.parse import urlsplit

import docker
from docker.errors import DockerException, ImageNotFound
from docker.models.containers import Container
from testcontainers.core.container import DockerContainer

from infra.local.process import OperatorError, Process, Program

IMAGES = {
    "mongod": os.environ.get("MONGO_IMAGE") or "mongo:6.0",  # default: the releases that the embedded stack uses
    "nats-server": os.environ.get("NATS_IMAGE") or "nats:2.15",
}
ENTRYPOINTS = {"mongod": "mongod"}  # the image's entrypoint switches to a user who cannot read the data folder


class ContainerProcess(Process):
    """A server in a container. A restart creates a new container with the same files."""

    def __init__(self, program: Program) -> None:
        super().__init__(program)
        self._docker_container: DockerContainer | None = None

    def start(self) -> None:
        program, folder = self.program, str(self.program.log.parents[1])
        self._docker_container = DockerContainer(
            IMAGES[program.name],
            volumes=[(folder, folder, "rw")],
            entrypoint=ENTRYPOINTS.get(program.name),
            user=f"{os.getuid()}:{os.getgid()}",
        ).with_command(list(program.argv[1:]))
        for address in (program.address, program.health):
            port = urlsplit(address).port
            self._docker_container.ports[str(port)] = ("127.0.0.1", port)  # type: ignore[assignment]  # wrong stub
        self._docker_container.start()

    def exit_status(self) -> int | None:
        if self._docker_container is None:
            return 0
        container = self._container(self._docker_container)
        container.reload()
        return None if container.status in ("created", "running") else int(container.attrs["State"]["ExitCode"])

    def kill(self) -> None:
        if self._docker_container:
            self._docker_container.stop()  # kills the server and removes the container
            self._docker_container = None

    def stop(self, timeout: float = 10) -> None:
        if self._docker_container:
            self._container(self._docker_container).stop(timeout=int(timeout))
            self.kill()

    def failure(self, message: str) -> OperatorError:
        if self._docker_container:
            self.program.log.write_bytes(self._container(self._docker_container).logs())
        return super().failure(message)

    @staticmethod
    def _container(container: DockerContainer) -> Container:
        return container.get_wrapped_container()


def find_docker_problem() -> str | None:
    """Return why containers cannot be used, or None if they can. Missing images are pulled."""
    try:
        client = docker.from_env(timeout=10)
    except DockerException as error:
        return f"no Docker engine answers ({error})"
    try:
        client.ping()
        for image in IMAGES.values():
            try:
                client.images.get(image)
            except ImageNotFound:
                client.images.pull(image)
    except DockerException as error:
        return f"the Docker engine cannot provide {' and '.join(IMAGES.values())} ({error})"
    finally:
        client.close()
    return None
