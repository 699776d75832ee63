"""Registry logins that are derived from secrets."""

import base64
import json

import pytest

from contracts.builds import RegistryLogin
from contracts.projects import SecretValue
from services.builds.dispatch.registry_logins import DOCKER_HUB_URL, find_registry_logins


def find_logins(**secrets: str) -> list[RegistryLogin]:
    return list(find_registry_logins(SecretValue(name=name, value=value) for name, value in secrets.items()))


def docker_config(**hosts: object) -> str:
    return json.dumps({"auths": hosts})


ADA = RegistryLogin(url="registry.example", username="ada", password="p:w")
AT_HUB = RegistryLogin(url=DOCKER_HUB_URL, username="ada", password="pw")


def test_both_forms_of_docker_auth_config_are_read() -> None:
    encoded = base64.b64encode(b"ada:p:w").decode()
    assert find_logins(DOCKER_AUTH_CONFIG=docker_config(**{"registry.example": {"auth": encoded}})) == [ADA]
    assert find_logins(
        DOCKER_AUTH_CONFIG=docker_config(**{"registry.example": {"username": "ada", "password": "p:w"}})
    ) == [ADA]


def test_a_registry_login_defaults_to_docker_hub() -> None:
    account = {"CI_REGISTRY_USER": "ada", "CI_REGISTRY_PASSWORD": "p:w"}
    assert find_logins(CI_REGISTRY="registry.example", **account) == [ADA]
    assert find_logins(**account) == [ADA.replace(url=DOCKER_HUB_URL)]
    assert find_logins(DOCKER_HUB_USERNAME="ada", DOCKER_HUB_PASSWORD="pw") == [AT_HUB]


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "1", '{"auths": []}', '{"auths": {"r": 1}}', '{"auths": {"r": {"auth": "?"}}}']
)
def test_an_invalid_docker_auth_config_is_ignored(config: str) -> None:
    assert find_logins(DOCKER_AUTH_CONFIG=config) == []


def test_an_incomplete_registry_login_is_ignored() -> None:
    assert find_logins(CI_REGISTRY_USER="ada", CI_REGISTRY="registry.example", OTHER="x") == []
