"""Exported telemetry of one failing build of a private repository: traces, metrics, and no secrets."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.support.external.git_server import git_server
from tests.support.external.mail_server import MailServer, running_mail_server
from tests.support.external.otlp_receiver import (
    OtlpReceiver,
    ReceivedSpan,
    format_trace,
    list_span_paths,
    otlp_receiver,
)
from tests.support.external.repositories import create_sample_repository
from tests.support.monitoring_files import list_metric_names
from tests.support.stacks.leak_search import LeakSearch
from tests.support.stacks.running_stack import RunningStack, running_stack
from tests.support.waiting import wait_until

LAUNCH_PATH = "gateway POST /api/developer/builds/{project_id}"
QUEUE_PATH = f"{LAUNCH_PATH} > gateway QueueBuild > builds QueueBuild"
RUN_PATH = "agent job build"
REPORT_PATH = f"{RUN_PATH} > gateway PUT /api/v4/jobs/{{job_id}} > gateway ReportJob > builds ReportJob"
END_PATH = f"{REPORT_PATH} > builds publish BuildFinished"
SECRET, PASSWORD, LOGIN = (f"canary-{uuid4().hex}" for _ in range(3))
EMAIL = f"{uuid4().hex}@example.org"


@dataclass(frozen=True)
class TracedBuild:
    """The failing build and the telemetry about it that the receiver has stored."""

    stack: RunningStack
    receiver: OtlpReceiver
    build_id: int

    @property
    def launch_spans(self) -> list[ReceivedSpan]:
        [trace_id] = {span.trace_id for span in self.receiver.spans if f"{span.service} {span.name}" == LAUNCH_PATH}
        return self.receiver.spans_of_trace(trace_id)

    @property
    def run_spans(self) -> list[ReceivedSpan]:
        """Return the spans of the trace that the agent started."""
        [trace_id] = {span.trace_id for span in self.receiver.spans if span.service == "agent" and not span.parent_id}
        return self.receiver.spans_of_trace(trace_id)

    def named(self, service: str, name: str) -> list[ReceivedSpan]:
        return [span for span in self.receiver.spans if (span.service, span.name) == (service, name)]


@pytest.fixture(scope="module")
def traced_build(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedBuild]:
    folder = tmp_path_factory.mktemp("telemetry")
    steps = {"build": "echo so\n", "test": 'echo "$CANARY"; false\n'}
    create_sample_repository(folder / "served" / "repository", steps)
    with (
        otlp_receiver() as receiver,
        running_mail_server() as mail_server,
        git_server(folder / "served", f"ada:{LOGIN}") as server,
        running_stack(
            folder / "data", replicas=1, environment={**receiver.environment, **mail_server.environment}
        ) as stack,
    ):
        repository = server.url("repository", f"ada:{quote(LOGIN, safe='')}")
        build_id = run_failing_build(stack, repository)
        wait_until(lambda: mail_server.messages_to(EMAIL))
        assert stack.list_logged_errors() == []
        build = TracedBuild(stack, receiver, build_id)
        wait_until(lambda: is_complete(build, mail_server), message=format_trace(receiver.spans))
        yield build


def run_failing_build(stack: RunningStack, repository: str) -> int:
    """Run a failing build that uses a secret, launched by a user with an email address. Return the build id."""
    secret = stack.create("secret", name="CANARY", value=SECRET)
    user = stack.create("developer", username="eve", password=PASSWORD, email=EMAIL, roles=["ROLE_DEVELOPER"])
    project_id = stack.create_project(repository, secrets_id=[secret["id"]], developers_id=[user["id"]])
    with stack.sign_in("eve", PASSWORD) as eve:
        build = stack.wait_until_finished(stack.launch_build(project_id, client=eve))
    assert build["exit_code"] == 2000
    return int(build["id"])


def is_complete(traced_build: TracedBuild, mail_server: MailServer) -> bool:
    """Return whether the last spans have arrived: the spans of the job, of the sent email and of the relay."""
    job_reported = mail_server.messages_to(EMAIL) and traced_build.named("agent", RUN_PATH.removeprefix("agent "))
    sent = traced_build.named("notifications", "decide MarkNotificationSent")
    return bool(job_reported and sent and END_PATH in list_span_paths(traced_build.run_spans))


def test_a_trace_covers_request_message_append_and_planner(traced_build: TracedBuild) -> None:
    assert list_span_paths(traced_build.launch_spans) >= {
        LAUNCH_PATH,
        f"{QUEUE_PATH} > builds decide QueueBuild > builds GetLaunchSettings > projects GetLaunchSettings",
        f"{QUEUE_PATH} > builds decide QueueBuild > builds append",
        f"{QUEUE_PATH} > builds publish BuildQueued",
        f"{QUEUE_PATH} > builds work planner > builds read branch",
        f"{QUEUE_PATH} > builds work planner > builds read spec file > builds git fetch",
        f"{QUEUE_PATH} > builds work planner > builds decide PlanBuild > builds append",
        f"{QUEUE_PATH} > builds work planner > builds publish JobQueued",
        f"{QUEUE_PATH} > builds work planner > projects follow project_steps",
    }


def test_the_launch_trace_contains_queue_wait_and_step_times(traced_build: TracedBuild) -> None:
    planned = f"{QUEUE_PATH} > builds work planner"
    assert list_span_paths(traced_build.launch_spans) >= {
        f"{planned} > builds wait for a runner",
        f"{planned} > builds step build",
        f"{planned} > builds step test",
        f"{planned} > builds run job",
    }


def test_the_runner_trace_links_to_the_launch_trace(traced_build: TracedBuild) -> None:
    assert list_span_paths(traced_build.run_spans) >= {
        RUN_PATH,
        f"{RUN_PATH} > agent check out",
        f"{RUN_PATH} > agent step script",
        f"{RUN_PATH} > gateway PATCH /api/v4/jobs/{{job_id}}/trace > gateway AppendTrace > builds AppendTrace",
        REPORT_PATH,
    }
    launch = traced_build.launch_spans[0].trace_id
    linked = [span for span in traced_build.receiver.spans if launch in span.links and span.trace_id != launch]
    assert {f"{span.service} {span.name}" for span in linked} == {
        RUN_PATH,
        "builds ClaimJob",
        "builds AppendTrace",
        "builds ReportJob",
    }


def test_the_build_end_and_its_email_belong_to_the_last_runner_request(traced_build: TracedBuild) -> None:
    paths = list_span_paths(traced_build.run_spans)
    assert f"{REPORT_PATH} > builds decide FinishJob > builds append" in paths
    assert END_PATH in paths
    [sent] = [path for path in paths if path.endswith("notifications send mail")]
    assert sent.startswith(f"{REPORT_PATH} > ")
    assert " > notifications react BuildFinished > " in sent
    assert " > notifications work mailer > " in sent


def test_spans_follow_the_opentelemetry_conventions(traced_build: TracedBuild) -> None:
    request, query, reply = (
        next(span for span in traced_build.launch_spans if f"{span.service} {span.name}" == name)
        for name in (LAUNCH_PATH, "gateway QueueBuild", "builds QueueBuild")
    )
    [append] = [
        span for span in traced_build.launch_spans if span.name == "append" and span.attributes["headrace.events"] == 1
    ]
    assert (request.kind, query.kind, reply.kind, append.kind) == ("SERVER", "CLIENT", "SERVER", "CLIENT")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/developer/builds/{project_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    assert query.attributes == {"messaging.system": "nats", "messaging.destination.name": "cmd.builds.QueueBuild"}
    assert append.attributes["db.system.name"] == "mongodb"
    assert {span.kind for span in traced_build.launch_spans if span.name.startswith("publish")} == {"PRODUCER"}
    assert {span.kind for span in traced_build.launch_spans if span.name.startswith(("work", "follow", "react"))} == {
        "CONSUMER"
    }


def test_the_trace_id_of_an_error_response_is_exported(traced_build: TracedBuild) -> None:
    trace_id = traced_build.stack.admin.get("/developer/builds/999999").json()["trace_id"]
    path = "gateway GET /api/developer/builds/{build_id} > gateway GetBuild > builds GetBuild"
    wait_until(lambda: path in list_span_paths(traced_build.receiver.spans_of_trace(trace_id)))


def test_metrics_of_all_processes_are_exported(traced_build: TracedBuild) -> None:
    def sent(name: str) -> set[str]:
        return traced_build.receiver.metrics.get(name, set())

    services = {"identity", "projects", "builds", "runners", "notifications"}
    expected = {
        "headrace_relay_lag_seconds": services,
        "headrace_ready": {*services, "gateway"},
        "headrace_http_request_seconds": {"gateway"},
        "headrace_mails": {"notifications"},
        "headrace_build_seconds": {"builds"},
        "headrace_queue_depth": {"builds"},
        "headrace_runners_online": {"runners"},
    }
    # each process exports its metrics at its own interval
    wait_until(lambda: all(sent(name) >= senders for name, senders in expected.items()))
    assert {name: sent(name) for name in expected} == expected
    assert sent("headrace_command_seconds") >= {"identity", "projects", "builds", "runners"}


def scrape_metrics(stack: RunningStack) -> str:
    return "".join(
        httpx.get(f"{process['address']}/metrics").text
        for process in stack.get_status()
        if process["address"].startswith("http")
    )


def test_dashboard_and_alerts_use_existing_metrics(traced_build: TracedBuild) -> None:
    wait_until(lambda: "headrace_queue_depth" in scrape_metrics(traced_build.stack))
    names = {re.split(r"[{ ]", line)[0] for line in scrape_metrics(traced_build.stack).splitlines()}
    assert list_metric_names() - names == set()


def test_metrics_count_builds_jobs_and_emails(traced_build: TracedBuild) -> None:
    wait_until(lambda: "headrace_runners_online 1.0" in scrape_metrics(traced_build.stack))
    text = scrape_metrics(traced_build.stack)
    assert 'headrace_builds_finished_total{outcome="failed"} 1.0' in text
    assert 'headrace_jobs_finished_total{outcome="failed"} 1.0' in text
    assert 'headrace_mails_total{outcome="sent"} 1.0' in text
    assert "headrace_build_seconds_count 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_exported_telemetry_contains_no_secrets_or_email_addresses(traced_build: TracedBuild) -> None:
    leaks = LeakSearch([SECRET, PASSWORD, LOGIN, EMAIL])
    for body in traced_build.receiver.bodies:
        leaks.search("OTLP", body)
    assert leaks.findings == []
    assert leaks.searched_count > 20
    assert not [span for span in traced_build.receiver.spans if "authorization" in str(span.attributes).lower()]
