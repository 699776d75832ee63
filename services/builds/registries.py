"""Logins at registries of images, from secrets with the names that GitLab's and Free Commit's users know."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from contracts.builds import RegistryLogin
from contracts.projects import SecretValue

HUB = "https://index.docker.io/v1/"
ACCOUNTS = (  # names of secrets: host, user, password
    ("CI_REGISTRY", "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"),
    ("", "DOCKER_HUB_USERNAME", "DOCKER_HUB_PASSWORD"),
)
MOST = 100


def registry_logins(secrets: Iterable[SecretValue]) -> tuple[RegistryLogin, ...]:
    """What cannot be read is left out: a runner that needs it says that it lacks a login."""
    values = {one.name: one.value for one in secrets}
    return tuple([*_of_docker(values.get("DOCKER_AUTH_CONFIG", "")), *_of_accounts(values)][:MOST])


def _of_accounts(values: Mapping[str, str]) -> Iterator[RegistryLogin]:
    for host, user, password in ACCOUNTS:
        if values.get(user) and values.get(password):
            yield RegistryLogin(url=values.get(host) or HUB, username=values[user], password=values[password])


def _of_docker(config: str) -> Iterator[RegistryLogin]:
    """The content of docker's own config.json."""
    try:
        known = json.loads(config)
    except ValueError:
        return
    hosts = known.get("auths") if isinstance(known, dict) else None
    for host, entry in hosts.items() if isinstance(hosts, dict) else ():
        username, password = _login(entry if isinstance(entry, dict) else {})
        if username and password:
            yield RegistryLogin(url=host, username=username, password=password)


def _login(entry: Mapping[str, Any]) -> tuple[str, str]:
    username, password, both = (entry.get(name) for name in ("username", "password", "auth"))
    if isinstance(username, str) and isinstance(password, str):
        return username, password
    try:
        first, _, second = base64.b64decode(both if isinstance(both, str) else "").decode().partition(":")
    except ValueError:
        return "", ""
    return first, second
