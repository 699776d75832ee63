"""The builds that get the project's secrets, and what the other builds get."""

import pytest

from contracts.builds import BuildRow
from contracts.projects import JobSecrets, PullRequest, SecretValue
from services.builds.dispatch.job_secrets import is_trusted, without_secrets

own = PullRequest(number=7, title="t", source_branch="faster", target_branch="main", is_fork=False)
HEADS = ("refs/pull/7/head", "refs/merge-requests/7/head")


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/tags/v1", "main"])
def test_builds_of_the_repository_get_secrets(ref: str) -> None:
    assert is_trusted(BuildRow(id=1), ref)


@pytest.mark.parametrize("ref", HEADS)
def test_only_a_pull_request_of_the_repository_gets_secrets(ref: str) -> None:
    assert is_trusted(BuildRow(id=1, pull_request=own), ref)
    assert not is_trusted(BuildRow(id=1, pull_request=own.replace(is_fork=True)), ref)
    assert not is_trusted(BuildRow(id=1), ref)  # the build was deleted


def test_what_fetches_the_repository_is_left() -> None:
    secrets = JobSecrets(secrets=(SecretValue(name="A", value="b"),), ssh_key="key", repository_login="ada:x")
    assert without_secrets(secrets) == JobSecrets(secrets=(), ssh_key="key", repository_login="ada:x")
