"""Which secrets of a project are logins at registries of images."""

import base64
import json

import pytest

from contracts.builds import RegistryLogin
from contracts.projects import SecretValue
from services.builds.registries import HUB, registry_logins


def logins(**secrets: str) -> list[RegistryLogin]:
    return list(registry_logins(SecretValue(name=name, value=value) for name, value in secrets.items()))


def docker(**hosts: object) -> str:
    return json.dumps({"auths": hosts})


ADA = RegistryLogin(url="registry.example", username="ada", password="p:w")
AT_HUB = RegistryLogin(url=HUB, username="ada", password="pw")


def test_the_file_of_docker_is_read_in_both_its_forms() -> None:
    both = base64.b64encode(b"ada:p:w").decode()
    assert logins(DOCKER_AUTH_CONFIG=docker(**{"registry.example": {"auth": both}})) == [ADA]
    assert logins(DOCKER_AUTH_CONFIG=docker(**{"registry.example": {"username": "ada", "password": "p:w"}})) == [ADA]


def test_a_user_and_a_password_are_for_the_registry_that_is_named_or_for_docker_hub() -> None:
    account = {"CI_REGISTRY_USER": "ada", "CI_REGISTRY_PASSWORD": "p:w"}
    assert logins(CI_REGISTRY="registry.example", **account) == [ADA]
    assert logins(**account) == [ADA.but(url=HUB)]
    assert logins(DOCKER_HUB_USERNAME="ada", DOCKER_HUB_PASSWORD="pw") == [AT_HUB]


@pytest.mark.parametrize(
    "config", ["", "{", "[]", "1", '{"auths": []}', '{"auths": {"r": 1}}', '{"auths": {"r": {"auth": "?"}}}']
)
def test_what_is_no_login_is_left_out(config: str) -> None:
    assert logins(DOCKER_AUTH_CONFIG=config) == []


def test_half_a_login_is_none() -> None:
    assert logins(CI_REGISTRY_USER="ada", CI_REGISTRY="registry.example", OTHER="x") == []
