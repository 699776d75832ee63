"""Processes of the local stack: only the builds service gets the bucket settings, and failures are explained."""

from pathlib import Path

import pytest

from infra.local.data_folder import DataFolder
from infra.local.stack import Stack
from libs.settings import Settings

BUCKET = {"HEADRACE_S3_BUCKET": "artifacts", "HEADRACE_S3_ACCESS_KEY": "key", "HEADRACE_S3_SECRET_KEY": "canary"}


@pytest.fixture
def stack(tmp_path: Path) -> Stack:
    folder = DataFolder(tmp_path)
    folder.prepare()
    return Stack(Settings.from_environment(BUCKET), folder, "mongodb://db", "nats://bus", BUCKET)


def test_only_the_builds_service_gets_the_bucket_settings(stack: Stack) -> None:
    programs = [plan() for plan in (*stack.services(), *stack.gateways(), stack.agent())]
    with_bucket = {program.name for program in programs if "HEADRACE_S3_BUCKET" in (program.environment or {})}
    with_secret = {program.name for program in programs if "canary" in (program.environment or {}).values()}
    assert with_bucket == with_secret == {"builds-0"}


def test_a_nats_login_without_permissions_is_explained(stack: Stack) -> None:
    log = '{"level": "ERROR", "message": "NATS: nats: permissions violation for publish to \\"evt.builds.x\\""}'
    assert stack.migration().explain_failure(log).startswith("The login in HEADRACE_NATS_URL lacks permissions")
    assert stack.migration().explain_failure("headrace: HEADRACE_PORT is taken.") == "HEADRACE_PORT is taken."
