"""One failing build of a private repository, as a receiver of OTLP sees it: its traces, the metrics, and no secret."""

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
from tests.support.stacks.running_stack import RunningStack, running_stack, wait_until

LAUNCH = "gateway POST /api/developer/builds/{project_id}"
QUEUED = f"{LAUNCH} > gateway QueueBuild > builds QueueBuild"
RUN = "agent job build"
TOLD = f"{RUN} > gateway PUT /api/v4/jobs/{{job_id}} > gateway ReportJob > builds ReportJob"
ENDED = f"{TOLD} > builds publish BuildFinished"
SECRET, PASSWORD, LOGIN = (f"canary-{uuid4().hex}" for _ in range(3))
EMAIL = f"{uuid4().hex}@example.org"


@dataclass(frozen=True)
class Story:
    """What was seen of the one build."""

    stack: RunningStack
    receiver: OtlpReceiver
    build_id: int

    @property
    def launch(self) -> list[ReceivedSpan]:
        [trace_id] = {one.trace_id for one in self.receiver.spans if f"{one.service} {one.name}" == LAUNCH}
        return self.receiver.spans_of_trace(trace_id)

    @property
    def run(self) -> list[ReceivedSpan]:
        """The agent's trace."""
        [trace_id] = {one.trace_id for one in self.receiver.spans if one.service == "agent" and not one.parent_id}
        return self.receiver.spans_of_trace(trace_id)

    def named(self, service: str, name: str) -> list[ReceivedSpan]:
        return [one for one in self.receiver.spans if (one.service, one.name) == (service, name)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("telemetry")
    steps = {"build": "echo so\n", "test": 'echo "$CANARY"; false\n'}
    create_sample_repository(folder / "served" / "repository", steps)
    with (
        otlp_receiver() as receiver,
        running_mail_server() as office,
        git_server(folder / "served", f"ada:{LOGIN}") as server,
        running_stack(folder / "data", replicas=1, environment={**receiver.environment, **office.environment}) as stack,
    ):
        repository = server.url("repository", f"ada:{quote(LOGIN, safe='')}")
        build_id = built(stack, repository)
        wait_until(lambda: office.messages_to(EMAIL))
        assert stack.list_logged_errors() == []
        told = Story(stack, receiver, build_id)
        wait_until(lambda: has(told, office), what=format_trace(receiver.spans))
        yield told


def built(stack: RunningStack, repository: str) -> int:
    """By somebody with an address, with a secret."""
    secret = stack.create("secret", name="CANARY", value=SECRET)
    user = stack.create("developer", username="eve", password=PASSWORD, email=EMAIL, roles=["ROLE_DEVELOPER"])
    project_id = stack.create_project(repository, secrets_id=[secret["id"]], developers_id=[user["id"]])
    with stack.sign_in("eve", PASSWORD) as eve:
        build = stack.wait_until_finished(stack.launch_build(project_id, client=eve))
    assert build["exit_code"] == 2000
    return int(build["id"])


def has(story: Story, office: MailServer) -> bool:
    """The last spans are the job's, whose agent has reported, the one after the mail, and what the relay sent."""
    there = office.messages_to(EMAIL) and story.named("agent", RUN.removeprefix("agent "))
    sent = story.named("notifications", "decide MarkNotificationSent")
    return bool(there and sent and ENDED in list_span_paths(story.run))


def test_a_trace_covers_request_message_append_and_planner(story: Story) -> None:
    assert list_span_paths(story.launch) >= {
        LAUNCH,
        f"{QUEUED} > builds decide QueueBuild > builds GetLaunchSettings > projects GetLaunchSettings",
        f"{QUEUED} > builds decide QueueBuild > builds append",
        f"{QUEUED} > builds publish BuildQueued",
        f"{QUEUED} > builds work planner > builds read branch",
        f"{QUEUED} > builds work planner > builds read spec file > builds git fetch",
        f"{QUEUED} > builds work planner > builds decide PlanBuild > builds append",
        f"{QUEUED} > builds work planner > builds publish JobQueued",
        f"{QUEUED} > builds work planner > projects follow project_steps",
    }


def test_the_launch_trace_contains_queue_wait_and_step_times(story: Story) -> None:
    planned = f"{QUEUED} > builds work planner"
    assert list_span_paths(story.launch) >= {
        f"{planned} > builds wait for a runner",
        f"{planned} > builds step build",
        f"{planned} > builds step test",
        f"{planned} > builds run job",
    }


def test_the_runner_trace_links_to_the_launch_trace(story: Story) -> None:
    assert list_span_paths(story.run) >= {
        RUN,
        f"{RUN} > agent check out",
        f"{RUN} > agent step script",
        f"{RUN} > gateway PATCH /api/v4/jobs/{{job_id}}/trace > gateway AppendTrace > builds AppendTrace",
        TOLD,
    }
    launch = story.launch[0].trace_id
    linked = [one for one in story.receiver.spans if launch in one.links and one.trace_id != launch]
    assert {f"{one.service} {one.name}" for one in linked} == {
        RUN,
        "builds ClaimJob",
        "builds AppendTrace",
        "builds ReportJob",
    }


def test_the_build_end_and_its_email_belong_to_the_last_runner_request(story: Story) -> None:
    found = list_span_paths(story.run)
    assert f"{TOLD} > builds decide FinishJob > builds append" in found
    assert ENDED in found
    [sent] = [way for way in found if way.endswith("notifications send mail")]
    assert sent.startswith(f"{TOLD} > ")
    assert " > notifications react BuildFinished > " in sent
    assert " > notifications work mailer > " in sent


def test_spans_follow_the_opentelemetry_conventions(story: Story) -> None:
    request, asked, answered = (
        next(one for one in story.launch if f"{one.service} {one.name}" == name)
        for name in (LAUNCH, "gateway QueueBuild", "builds QueueBuild")
    )
    [append] = [one for one in story.launch if one.name == "append" and one.attributes["headrace.events"] == 1]
    assert (request.kind, asked.kind, answered.kind, append.kind) == ("SERVER", "CLIENT", "SERVER", "CLIENT")
    assert request.attributes == {
        "http.request.method": "POST",
        "http.route": "/api/developer/builds/{project_id}",
        "http.response.status_code": 200,
        "url.scheme": "http",
    }
    assert asked.attributes == {"messaging.system": "nats", "messaging.destination.name": "cmd.builds.QueueBuild"}
    assert append.attributes["db.system.name"] == "mongodb"
    assert {one.kind for one in story.launch if one.name.startswith("publish")} == {"PRODUCER"}
    assert {one.kind for one in story.launch if one.name.startswith(("work", "follow", "react"))} == {"CONSUMER"}


def test_the_trace_id_of_an_error_response_is_exported(story: Story) -> None:
    trace_id = story.stack.admin.get("/developer/builds/999999").json()["trace_id"]
    way = "gateway GET /api/developer/builds/{build_id} > gateway GetBuild > builds GetBuild"
    wait_until(lambda: way in list_span_paths(story.receiver.spans_of_trace(trace_id)))


def test_metrics_of_all_processes_are_exported(story: Story) -> None:
    def sent(name: str) -> set[str]:
        return story.receiver.metrics.get(name, set())

    services = {"identity", "projects", "builds", "runners", "notifications"}
    wanted = {
        "headrace_relay_lag_seconds": services,
        "headrace_ready": {*services, "gateway"},
        "headrace_http_request_seconds": {"gateway"},
        "headrace_mails": {"notifications"},
        "headrace_build_seconds": {"builds"},
        "headrace_queue_depth": {"builds"},
        "headrace_runners_online": {"runners"},
    }
    # each process sends its metrics at moments of its own
    wait_until(lambda: all(sent(name) >= senders for name, senders in wanted.items()))
    assert {name: sent(name) for name in wanted} == wanted
    assert sent("headrace_command_seconds") >= {"identity", "projects", "builds", "runners"}


def scraped(stack: RunningStack) -> str:
    return "".join(
        httpx.get(f"{one['address']}/metrics", trust_env=False).text
        for one in stack.get_status()
        if one["address"].startswith("http")
    )


def test_dashboard_and_alerts_use_existing_metrics(story: Story) -> None:
    wait_until(lambda: "headrace_queue_depth" in scraped(story.stack))
    shown = {re.split(r"[{ ]", line)[0] for line in scraped(story.stack).splitlines()}
    assert list_metric_names() - shown == set()


def test_metrics_count_builds_jobs_and_emails(story: Story) -> None:
    wait_until(lambda: "headrace_runners_online 1.0" in scraped(story.stack))
    shown = scraped(story.stack)
    assert 'headrace_builds_finished_total{outcome="failed"} 1.0' in shown
    assert 'headrace_jobs_finished_total{outcome="failed"} 1.0' in shown
    assert 'headrace_mails_total{outcome="sent"} 1.0' in shown
    assert "headrace_build_seconds_count 1.0" in shown
    assert "process_resident_memory_bytes" in shown


def test_exported_telemetry_contains_no_secrets_or_email_addresses(story: Story) -> None:
    leaks = LeakSearch([SECRET, PASSWORD, LOGIN, EMAIL])
    for body in story.receiver.bodies:
        leaks.search("OTLP", body)
    assert leaks.findings == []
    assert leaks.searched_count > 20
    assert not [one for one in story.receiver.spans if "authorization" in str(one.attributes).lower()]
