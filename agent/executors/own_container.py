"""The Docker container in which the agent itself runs, if it runs in one."""

import platform
from dataclasses import dataclass
from pathlib import Path

from agent.executors.docker_client import DockerClient, DockerError

MARKER_FILES = (Path("/.dockerenv"), Path("/run/.containerenv"))  # present in containers of Docker and of Podman


@dataclass(frozen=True, slots=True)
class OwnContainer:
    image: str
    mounts: tuple[tuple[Path, Path], ...]  # path in the container, and path on the engine's machine

    def host_path(self, path: Path) -> Path:
        """Return the path on the engine's machine of a file in a volume of the agent. Raises DockerError."""
        for target, source in sorted(self.mounts, reverse=True):  # the deepest first
            if path.is_relative_to(target):
                return source / path.relative_to(target)
        raise DockerError(f"{path} is in no volume of the agent's container, so other containers cannot use it")


async def find_own_container(client: DockerClient) -> OwnContainer | None:
    """Return the agent's container, or None if the agent runs in no container of this engine."""
    if not any(file.exists() for file in MARKER_FILES):
        return None
    details = await client.find_container(platform.node())  # the host name is the container's id by default
    if details is None:
        return None
    mounts = tuple((Path(mount["Destination"]), Path(mount["Source"])) for mount in details["Mounts"])
    return OwnContainer(details["Image"], mounts)
