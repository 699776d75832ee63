"""Logins at registries of images, from secrets with the names that GitLab's and Free Commit's users know."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from contracts.builds import RegistryLogin
from contracts.projects import SecretValue

DOCKER_HUB_URL = "https://index.docker.io/v1/"
ACCOUNT_SECRETS = (  # names of secrets: host, user, password
    ("CI_REGISTRY", "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"),
    ("", "DOCKER_HUB_USERNAME", "DOCKER_HUB_PASSWORD"),
)
MAX_LOGINS = 100


def find_registry_logins(secrets: Iterable[SecretValue]) -> tuple[RegistryLogin, ...]:
    """What cannot be read is left out: a runner that needs it says that it lacks a login."""
    values = {one.name: one.value for one in secrets}
    return tuple(
        [*_logins_from_docker_config(values.get("DOCKER_AUTH_CONFIG", "")), *_logins_from_accounts(values)][:MAX_LOGINS]
    )


def _logins_from_accounts(values: Mapping[str, str]) -> Iterator[RegistryLogin]:
    for host, user, password in ACCOUNT_SECRETS:
        if values.get(user) and values.get(password):
            yield RegistryLogin(
                url=values.get(host) or DOCKER_HUB_URL, username=values[user], password=values[password]
            )


def _logins_from_docker_config(config: str) -> Iterator[RegistryLogin]:
    """The content of docker's own config.json."""
    try:
        known = json.loads(config)
    except ValueError:
        return
    hosts = known.get("auths") if isinstance(known, dict) else None
    for host, entry in hosts.items() if isinstance(hosts, dict) else ():
        username, password = _parse_docker_entry(entry if isinstance(entry, dict) else {})
        if username and password:
            yield RegistryLogin(url=host, username=username, password=password)


def _parse_docker_entry(entry: Mapping[str, Any]) -> tuple[str, str]:
    username, password, both = (entry.get(name) for name in ("username", "password", "auth"))
    if isinstance(username, str) and isinstance(password, str):
        return username, password
    try:
        first, _, second = base64.b64decode(both if isinstance(both, str) else "").decode().partition(":")
    except ValueError:
        return "", ""
    return first, second
