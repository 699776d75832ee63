"""Logins for image registries, from secrets with the names used by GitLab and Free Commit."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping

from contracts.builds import RegistryLogin
from contracts.projects import SecretValue

DOCKER_HUB_URL = "https://index.docker.io/v1/"
ACCOUNT_SECRETS = (  # names of the secrets with host, user and password
    ("CI_REGISTRY", "CI_REGISTRY_USER", "CI_REGISTRY_PASSWORD"),
    ("", "DOCKER_HUB_USERNAME", "DOCKER_HUB_PASSWORD"),
)
MAX_LOGINS = 100


def find_registry_logins(secrets: Iterable[SecretValue]) -> tuple[RegistryLogin, ...]:
    """Return the registry logins in the secrets.

    Invalid values are skipped: pulling the image then fails with a clear error.
    """
    values = {secret.name: secret.value for secret in secrets}
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
    try:
        parsed = json.loads(config)
    except ValueError:
        return
    hosts = parsed.get("auths") if isinstance(parsed, dict) else None
    for host, entry in hosts.items() if isinstance(hosts, dict) else ():
        username, password = _parse_docker_entry(entry if isinstance(entry, dict) else {})
        if username and password:
            yield RegistryLogin(url=host, username=username, password=password)


def _parse_docker_entry(entry: Mapping[str, object]) -> tuple[str, str]:
    username, password, auth = (entry.get(name) for name in ("username", "password", "auth"))
    if isinstance(username, str) and isinstance(password, str):
        return username, password
    try:
        username, _, password = base64.b64decode(auth if isinstance(auth, str) else "").decode().partition(":")
    except ValueError:
        return "", ""
    return username, password
