"""What the contract of the runners accepts from outside."""

import pytest
from pydantic import ValidationError

from contracts.runners import GetRegistrationInfo, RegisterRunner, RunnerInfo, RunnerProfile, TouchRunner


@pytest.mark.parametrize("scope", ["", "service-1", "company", "company-0", "company-x", "project-1.2", "user-1"])
def test_other_scopes_do_not_exist(scope: str) -> None:
    with pytest.raises(ValidationError):
        GetRegistrationInfo(scope=scope)


def test_what_a_runner_says_about_itself_is_read_leniently() -> None:
    said = {"platform": "linux", "version": 17, "name": None, "architecture": "a" * 999, "features": {"trace": True}}
    assert RunnerInfo.model_validate(said) == RunnerInfo(platform="linux", architecture="a" * 255)


def test_tokens_do_not_show() -> None:
    assert "hush" not in repr(RegisterRunner(registration_token="hush")) + repr(TouchRunner(token="hush"))


def test_a_profile_tells_nothing_about_the_token() -> None:
    assert not [name for name in RunnerProfile.model_fields if "token" in name]
