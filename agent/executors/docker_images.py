"""Brings the images of a job to this machine, with the logins of their registries."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from agent.config import PULL_POLICIES, DockerSettings
from agent.executors.docker_client import PULL_FAILURE, DockerClient, DockerError
from agent.protocol.job import RegistryLogin

DOCKER_HUB = "https://index.docker.io/v1/"


def split_image(name: str) -> tuple[str, str]:
    """Repository and tag (or digest)."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag or "latest"


def registry_host(image: str) -> str:
    """The host that an image comes from, as a login names it."""
    first, slash, _ = image.partition("/")
    return first if slash and (set(first) & set(".:") or first == "localhost") else DOCKER_HUB


def find_login(image: str, logins: Iterable[RegistryLogin], auth_file: str) -> dict[str, str] | None:
    """The job's own, or one of the file of this machine."""
    host = registry_host(image)
    for known in (*logins, *_read_auth_file(auth_file)):
        if known.registry.rstrip("/") in (host, host.rstrip("/"), f"https://{host}", f"http://{host}"):
            return {"username": known.username, "password": known.password, "serveraddress": host}
    return None


def _read_auth_file(path: str) -> Iterator[RegistryLogin]:
    if not path:
        return
    try:
        known = json.loads(Path(path).expanduser().read_text()).get("auths", {})
        for host, entry in known.items():
            if "auth" in entry:
                username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                yield RegistryLogin(host, username, password)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise DockerError(f"docker.auth_file cannot be used: {type(error).__name__}") from None


async def ensure_image(
    engine: DockerClient,
    name: str,
    policies: Sequence[str],
    logins: Iterable[RegistryLogin],
    docker: DockerSettings,
    log: Callable[[str], None],
) -> None:
    """The image is there afterwards; the policies are tried in turn."""
    failed = DockerError(f"image {name}: no policy", PULL_FAILURE)
    policies = policies or (docker.pull_policy,)
    for policy in policies:
        if policy not in PULL_POLICIES:
            raise DockerError(f"image {name}: {policy!r} is no pull policy")
        if policy != "always" and await engine.has_image(name):
            return
        if policy == "never":
            failed = DockerError(f"image {name} is not on this machine, and must not be pulled", PULL_FAILURE)
            continue
        log(f"Pulling image {name}")
        try:
            await engine.pull(*split_image(name), find_login(name, logins, docker.auth_file))
        except DockerError as error:
            failed = error
            if policy != policies[-1]:
                log(f"WARNING: {error}")
        else:
            return
    raise failed
