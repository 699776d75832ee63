"""Brings the images of a job to this machine, with the logins of their registries."""

import base64
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from agent.config import PULL_POLICIES, Docker
from agent.engine import PULL, Engine, EngineError
from agent.job import Login

HUB = "https://index.docker.io/v1/"


def split_image(name: str) -> tuple[str, str]:
    """Repository and tag (or digest)."""
    if "@" in name:
        repository, _, digest = name.partition("@")
        return repository, digest
    head, slash, last = name.rpartition("/")
    last, _, tag = last.partition(":")
    return f"{head}{slash}{last}", tag or "latest"


def registry(image: str) -> str:
    """The host that an image comes from, as a login names it."""
    first, slash, _ = image.partition("/")
    return first if slash and (set(first) & set(".:") or first == "localhost") else HUB


def login(image: str, logins: Iterable[Login], auth_file: str) -> dict[str, str] | None:
    """The job's own, or one of the file of this machine."""
    host = registry(image)
    for known in (*logins, *_of_file(auth_file)):
        if known.registry.rstrip("/") in (host, host.rstrip("/"), f"https://{host}", f"http://{host}"):
            return {"username": known.username, "password": known.password, "serveraddress": host}
    return None


def _of_file(path: str) -> Iterator[Login]:
    if not path:
        return
    try:
        known = json.loads(Path(path).expanduser().read_text()).get("auths", {})
        for host, entry in known.items():
            if "auth" in entry:
                username, _, password = base64.b64decode(entry["auth"]).decode().partition(":")
                yield Login(host, username, password)
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise EngineError(f"docker.auth_file cannot be used: {type(error).__name__}") from None


async def bring(
    engine: Engine,
    name: str,
    policies: Sequence[str],
    logins: Iterable[Login],
    docker: Docker,
    tell: Callable[[str], None],
) -> None:
    """The image is there afterwards; the policies are tried in turn."""
    failed = EngineError(f"image {name}: no policy", PULL)
    policies = policies or (docker.pull_policy,)
    for policy in policies:
        if policy not in PULL_POLICIES:
            raise EngineError(f"image {name}: {policy!r} is no pull policy")
        if policy != "always" and await engine.has_image(name):
            return
        if policy == "never":
            failed = EngineError(f"image {name} is not on this machine, and must not be pulled", PULL)
            continue
        tell(f"Pulling image {name}")
        try:
            await engine.pull(*split_image(name), login(name, logins, docker.auth_file))
        except EngineError as error:
            failed = error
            if policy != policies[-1]:
                tell(f"WARNING: {error}")
        else:
            return
    raise failed
