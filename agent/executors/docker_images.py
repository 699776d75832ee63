"""Images of a job: pulled according to a policy, with logins for their registries."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from agent.config import PULL_POLICIES, DockerSettings
from agent.executors.docker_client import DockerClient, DockerError
from agent.executors.errors import PULL_FAILURE
from agent.protocol.job import RegistryLogin

DOCKER_HUB = "https://index.docker.io/v1/"


def split_image(name: str) -> tuple[str, str]:
    """Split an image name into repository and tag or digest. The default tag is `latest`."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag or "latest"


def registry_host(image: str) -> str:
    """Return the host of an image's registry. For Docker Hub, return the name that logins use."""
    first, slash, _ = image.partition("/")
    return first if slash and (set(first) & set(".:") or first == "localhost") else DOCKER_HUB


def find_login(image: str, logins: Iterable[RegistryLogin], auth_file: str) -> dict[str, str] | None:
    """Return the login for the image's registry: from the job, else from this machine's `auth_file`, else None.

    Raises DockerError if the file cannot be read.
    """
    host = registry_host(image)
    for candidate in (*logins, *_read_auth_file(auth_file)):
        if candidate.registry.rstrip("/") in (host, host.rstrip("/"), f"https://{host}", f"http://{host}"):
            return {"username": candidate.username, "password": candidate.password, "serveraddress": host}
    return None


def _read_auth_file(path: str) -> Iterator[RegistryLogin]:
    if not path:
        return
    try:
        logins = json.loads(Path(path).expanduser().read_text()).get("auths", {})
        for host, entry in logins.items():
            if "auth" in entry:
                username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                yield RegistryLogin(host, username, password)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DockerError(f"docker.auth_file cannot be read: {type(error).__name__}") from None


async def ensure_image(
    client: DockerClient,
    name: str,
    policies: Sequence[str],
    logins: Iterable[RegistryLogin],
    docker: DockerSettings,
    log: Callable[[str], None],
) -> None:
    """Make the image available locally. Try the pull policies in order; without any, use the agent's.

    Raises DockerError if all fail, or if one of them is unknown.
    """
    failure = DockerError(f"image {name}: no policy", PULL_FAILURE)
    policies = policies or (docker.pull_policy,)
    for policy in policies:
        if policy not in PULL_POLICIES:
            raise DockerError(f"image {name}: unknown pull policy {policy!r}")
        if policy != "always" and await client.has_image(name):
            return
        if policy == "never":
            failure = DockerError(f"image {name} is not on this machine, and the pull policy is never", PULL_FAILURE)
            continue
        log(f"Pulling image {name}")
        try:
            await client.pull(*split_image(name), find_login(name, logins, docker.auth_file))
        except DockerError as error:
            failure = error
            if policy != policies[-1]:
                log(f"WARNING: {error}")
        else:
            return
    raise failure
