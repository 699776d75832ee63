"""Fixtures: one stack that exports telemetry, and the telemetry of its first build."""

from collections.abc import Iterator
from urllib.parse import quote

import pytest

from tests.e2e.traced_stack.traced_build import BUILD_TIMEOUT_SECONDS, EMAIL, LOGIN, BuildTracer, TracedBuild
from tests.support.external.git_server import git_server
from tests.support.external.mail_server import MailServer
from tests.support.external.otlp_receiver import OtlpReceiver, otlp_receiver
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import RunningStack, running_stack
from tests.support.waiting import wait_until


@pytest.fixture(scope="package")
def receiver() -> Iterator[OtlpReceiver]:
    with otlp_receiver() as receiver:
        yield receiver


@pytest.fixture(scope="package")
def traced_stack(
    receiver: OtlpReceiver, mail_server: MailServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningStack]:
    environment = {"HEADRACE_BUILD_TIMEOUT_SECONDS": str(BUILD_TIMEOUT_SECONDS)}
    environment |= receiver.environment | mail_server.environment
    with running_stack(tmp_path_factory.mktemp("traced") / "data", environment=environment) as stack:
        yield stack


@pytest.fixture(scope="package")
def traced_build(
    traced_stack: RunningStack,
    receiver: OtlpReceiver,
    mail_server: MailServer,
    tmp_path_factory: pytest.TempPathFactory,
) -> TracedBuild:
    """Run the first build of the stack. Return its telemetry once all of it has arrived."""
    folder = tmp_path_factory.mktemp("served")
    # the log of the first step is too long to be sent with the result alone
    create_sample_repository(folder / "repository", {"build": "seq 20000\n", "test": 'echo "$CANARY"; false\n'})
    tracer = BuildTracer(traced_stack, receiver)
    with git_server(folder, f"ada:{LOGIN}") as server:
        tracer.run_failing_build(server.url("repository", f"ada:{quote(LOGIN, safe='')}"))
    wait_until(lambda: mail_server.messages_to(EMAIL))
    assert traced_stack.list_logged_errors() == []
    return tracer.wait_for_telemetry()
