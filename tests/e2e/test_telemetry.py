"""One failing build of a private repository, as a receiver of OTLP sees it: its traces, the metrics, and no secret."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest

from tests.support.git_server import git_server
from tests.support.leaks import Leaks
from tests.support.observability import metrics
from tests.support.otlp import Receiver, Seen, otlp_receiver, tree, ways
from tests.support.post_office import PostOffice, post_office
from tests.support.repositories import sample_repository
from tests.support.stack import RunningStack, running_stack, until

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
    receiver: Receiver
    build_id: int

    @property
    def launch(self) -> list[Seen]:
        [trace_id] = {one.trace_id for one in self.receiver.spans if f"{one.service} {one.name}" == LAUNCH}
        return self.receiver.trace(trace_id)

    @property
    def run(self) -> list[Seen]:
        """The agent's trace."""
        [trace_id] = {one.trace_id for one in self.receiver.spans if one.service == "agent" and not one.parent_id}
        return self.receiver.trace(trace_id)

    def named(self, service: str, name: str) -> list[Seen]:
        return [one for one in self.receiver.spans if (one.service, one.name) == (service, name)]


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    folder = tmp_path_factory.mktemp("telemetry")
    steps = {"build": "echo so\n", "test": 'echo "$CANARY"; false\n'}
    sample_repository(folder / "served" / "repository", steps)
    with (
        otlp_receiver() as receiver,
        post_office() as office,
        git_server(folder / "served", f"ada:{LOGIN}") as server,
        running_stack(folder / "data", replicas=1, environment={**receiver.environment, **office.environment}) as stack,
    ):
        repository = server.url("repository", f"ada:{quote(LOGIN, safe='')}")
        build_id = built(stack, repository)
        until(lambda: office.to(EMAIL))
        assert stack.complaints() == []
        told = Story(stack, receiver, build_id)
        until(lambda: has(told, office), what=tree(receiver.spans))
        yield told


def built(stack: RunningStack, repository: str) -> int:
    """By somebody with an address, with a secret."""
    secret = stack.made("secret", name="CANARY", value=SECRET)
    user = stack.made("developer", username="eve", password=PASSWORD, email=EMAIL, roles=["ROLE_DEVELOPER"])
    project_id = stack.project(repository, secrets_id=[secret["id"]], developers_id=[user["id"]])
    with stack.log_in("eve", PASSWORD) as eve:
        build = stack.finished(stack.launch(project_id, client=eve))
    assert build["exit_code"] == 2000
    return int(build["id"])


def has(story: Story, office: PostOffice) -> bool:
    """The last spans are the job's, whose agent has reported, the one after the mail, and what the relay sent."""
    there = office.to(EMAIL) and story.named("agent", RUN.removeprefix("agent "))
    sent = story.named("notifications", "decide MarkNotificationSent")
    return bool(there and sent and ENDED in ways(story.run))


def test_a_trace_goes_from_the_request_through_the_bus_and_the_log_to_the_planner(story: Story) -> None:
    assert ways(story.launch) >= {
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


def test_the_launch_also_tells_how_long_the_job_waited_and_what_its_steps_took(story: Story) -> None:
    planned = f"{QUEUED} > builds work planner"
    assert ways(story.launch) >= {
        f"{planned} > builds wait for a runner",
        f"{planned} > builds step build",
        f"{planned} > builds step test",
        f"{planned} > builds run job",
    }


def test_what_the_runner_does_is_another_trace_with_links_to_the_launch(story: Story) -> None:
    assert ways(story.run) >= {
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


def test_the_end_of_the_build_and_its_mail_belong_to_the_runners_last_call(story: Story) -> None:
    found = ways(story.run)
    assert f"{TOLD} > builds decide FinishJob > builds append" in found
    assert ENDED in found
    [sent] = [way for way in found if way.endswith("notifications send mail")]
    assert sent.startswith(f"{TOLD} > ")
    assert " > notifications react BuildFinished > " in sent
    assert " > notifications work mailer > " in sent


def test_spans_say_what_they_are_in_the_words_of_the_conventions(story: Story) -> None:
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


def test_the_trace_id_that_an_error_names_is_the_one_that_was_sent(story: Story) -> None:
    trace_id = story.stack.admin.get("/developer/builds/999999").json()["trace_id"]
    way = "gateway GET /api/developer/builds/{build_id} > gateway GetBuild > builds GetBuild"
    until(lambda: way in ways(story.receiver.trace(trace_id)))


def test_the_metrics_arrive_too(story: Story) -> None:
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
    until(lambda: all(sent(name) >= senders for name, senders in wanted.items()))
    assert {name: sent(name) for name in wanted} == wanted
    assert sent("headrace_command_seconds") >= {"identity", "projects", "builds", "runners"}


def scraped(stack: RunningStack) -> str:
    return "".join(
        httpx.get(f"{one['address']}/metrics", trust_env=False).text
        for one in stack.status()
        if one["address"].startswith("http")
    )


def test_dashboard_and_alerts_speak_of_metrics_that_there_are(story: Story) -> None:
    until(lambda: "headrace_queue_depth" in scraped(story.stack))
    shown = {re.split(r"[{ ]", line)[0] for line in scraped(story.stack).splitlines()}
    assert metrics() - shown == set()


def test_processes_show_what_happened(story: Story) -> None:
    until(lambda: "headrace_runners_online 1.0" in scraped(story.stack))
    shown = scraped(story.stack)
    assert 'headrace_builds_finished_total{outcome="failed"} 1.0' in shown
    assert 'headrace_jobs_finished_total{outcome="failed"} 1.0' in shown
    assert 'headrace_mails_total{outcome="sent"} 1.0' in shown
    assert "headrace_build_seconds_count 1.0" in shown
    assert "process_resident_memory_bytes" in shown


def test_nothing_secret_and_nobodys_address_is_in_what_was_sent(story: Story) -> None:
    leaks = Leaks([SECRET, PASSWORD, LOGIN, EMAIL])
    for body in story.receiver.bodies:
        leaks.look("OTLP", body)
    assert leaks.found == []
    assert leaks.looked_at > 20
    assert not [one for one in story.receiver.spans if "authorization" in str(one.attributes).lower()]
