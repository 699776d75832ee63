"""Fixtures: a stack on which every scene has been played, and its backup, after which tests may change it."""

import os
from collections.abc import Iterator, Mapping

import pytest

from tests.e2e.used_stack.backed_up import BackedUp, back_up, back_up_under_load
from tests.e2e.used_stack.played_scenes import play_scenes
from tests.support.external.mail_server import MailServer
from tests.support.stacks.running_stack import RunningStack, running_stack


@pytest.fixture(scope="package")
def used_stack(tmp_path_factory: pytest.TempPathFactory, mail_server: MailServer) -> Iterator[RunningStack]:
    environment = {"HEADRACE_LONG_POLL_SECONDS": "2", **mail_server.environment}
    with running_stack(tmp_path_factory.mktemp("used") / "data", environment=environment) as stack:
        yield stack
        assert stack.list_logged_errors() == []


@pytest.fixture(scope="package")
def scene_failures(used_stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, list[str]]:
    return play_scenes(used_stack, tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="package")
def backed_up(
    used_stack: RunningStack,
    scene_failures: Mapping[str, list[str]],
    mail_server: MailServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> BackedUp:
    """Back up the idle stack. Nightly runs back it up a second time, under load."""
    backed_up = back_up(used_stack, mail_server, tmp_path_factory.mktemp("backup"))
    if os.environ.get("HEADRACE_NIGHTLY"):
        back_up_under_load(used_stack, backed_up)
    return backed_up
