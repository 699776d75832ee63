"""Validation and secrecy in the messages of the runners service."""

import pytest
from pydantic import ValidationError

from contracts.runners import AuthenticateRunner, RegisterRunner, RevealRegistrationToken, RunnerInfo, RunnerProfile


@pytest.mark.parametrize("scope", ["", "service-1", "company", "company-0", "company-x", "project-1.2", "user-1"])
def test_an_invalid_registration_scope_is_rejected(scope: str) -> None:
    with pytest.raises(ValidationError):
        RevealRegistrationToken(scope=scope)


def test_invalid_runner_information_is_dropped() -> None:
    sent = {"platform": "linux", "version": 17, "name": None, "architecture": "a" * 999, "features": {"trace": True}}
    assert RunnerInfo.model_validate(sent) == RunnerInfo(platform="linux", architecture="a" * 255)


def test_the_repr_of_runner_commands_hides_tokens() -> None:
    assert "hush" not in repr(RegisterRunner(registration_token="hush")) + repr(AuthenticateRunner(token="hush"))


def test_a_runner_profile_has_no_token_field() -> None:
    assert not [name for name in RunnerProfile.model_fields if "token" in name]
