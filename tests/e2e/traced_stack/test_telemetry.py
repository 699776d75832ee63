"""Telemetry exported for one failing build of a private repository: traces and metrics, and no secrets."""

import re

from tests.e2e.traced_stack.traced_build import (
    EMAIL,
    END_PATH,
    LAUNCH_PATH,
    LOGIN,
    PASSWORD,
    REPORT_PATH,
    RUN_PATH,
    SECRET,
    TracedBuild,
)
from tests.support.external.otlp_receiver import OtlpReceiver, list_span_paths
from tests.support.monitoring_files import list_metric_names
from tests.support.stacks.leak_search import LeakSearch
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import wait_until

QUEUE_PATH = f"{LAUNCH_PATH} > gateway QueueBuild > builds QueueBuild"


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
    linked = [span for span in traced_build.spans if launch in span.links and span.trace_id != launch]
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


def test_the_trace_id_of_an_error_response_is_exported(traced_stack: RunningStack, receiver: OtlpReceiver) -> None:
    trace_id = traced_stack.admin.get("/developer/builds/999999").json()["trace_id"]
    path = "gateway GET /api/developer/builds/{build_id} > gateway GetBuild > builds GetBuild"
    wait_until(lambda: path in list_span_paths(receiver.spans_of_trace(trace_id)))


def test_metrics_of_all_processes_are_exported(traced_build: TracedBuild, receiver: OtlpReceiver) -> None:
    def sent(name: str) -> set[str]:
        return receiver.metrics.get(name, set())

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
    # every process exports its metrics at intervals
    wait_until(lambda: all(sent(name) >= senders for name, senders in expected.items()))
    assert {name: sent(name) for name in expected} == expected
    assert sent("headrace_command_seconds") >= {"identity", "projects", "builds", "runners"}


def test_dashboard_and_alerts_use_existing_metrics(traced_build: TracedBuild) -> None:
    names = {re.split(r"[{ ]", line)[0] for line in traced_build.scraped.splitlines()}
    assert list_metric_names() - names == set()


def test_metrics_count_builds_jobs_and_emails(traced_build: TracedBuild) -> None:
    text = traced_build.scraped
    assert 'headrace_builds_finished_total{outcome="failed"} 1.0' in text
    assert 'headrace_jobs_finished_total{outcome="failed"} 1.0' in text
    assert 'headrace_mails_total{outcome="sent"} 1.0' in text
    assert "headrace_build_seconds_count 1.0" in text
    assert "process_resident_memory_bytes" in text


def test_exported_telemetry_contains_no_secrets_or_email_addresses(
    traced_build: TracedBuild, receiver: OtlpReceiver
) -> None:
    leaks = LeakSearch([SECRET, PASSWORD, LOGIN, EMAIL])
    for body in receiver.bodies:
        leaks.search("OTLP", body)
    assert leaks.findings == []
    assert leaks.searched_count > 20
    assert not [span for span in receiver.spans if "authorization" in str(span.attributes).lower()]
