"""One build from the log-in to its end, as its developer sees it and as the events tell it."""

from dataclasses import dataclass

import pytest
from nats.aio.client import Client

from tests.support import stored
from tests.support.live_events import LiveEvent, listening
from tests.support.repositories import Gate, commit, git, sample_repository
from tests.support.stack import Answer, RunningStack, until

CANARY = "a-canary-in-the-mine"
SPEC = """
version: "1.0"
from: debian
steps:
  - {name: "@build", script: /ci/build.sh}
  - {name: "@test", script: /ci/test.sh first 'second'}
  - {name: "@deploy", script: /ci/deploy.sh}
  - {name: "@report", script: ci/report.sh}
  - {name: "@cleanup", script: /ci/cleanup.sh}
"""
EVENTS = [  # in the order in which their first ones must come
    "BuildQueued",
    "BuildPlanned",
    "JobQueued",
    "JobAssigned",
    "JobStarted",
    "StepStarted",
    "StepFinished",
    "JobFinished",
    "BuildFinished",
]
HEADERS = {"ce-specversion", "ce-id", "ce-source", "ce-type", "ce-subject", "ce-time", "content-type", "traceparent"}


@dataclass(frozen=True)
class Journey:
    project_id: int
    executor_id: str
    sha: str
    running: Answer  # its entry among those that run
    live: Answer  # its log while it ran
    build: Answer
    log: dict[str, str]
    events: list[LiveEvent]
    late_events: list[LiveEvent]  # of a reader who came back with the id of the first one


@pytest.fixture(scope="module")
def journey(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> Journey:
    folder = tmp_path_factory.mktemp("journey")
    gate = Gate(folder / "gate")
    steps = {
        "build": f'echo "the token is $MAIN_TOKEN"; SHARED=kept; cd /; echo building\n{gate.script}',
        "test": 'echo "testing $SHARED with $1 and $2"; git -C "$CI_PROJECT_DIR" log -1 --format=%H',
        "deploy": "echo deploying",
        "report": "echo reported",
        "cleanup": "echo cleaned",
    }
    repository = sample_repository(folder / "repository", steps, SPEC)
    secret = stack.made("secret", name="MAIN_TOKEN", value=CANARY)
    project_id = stack.project(repository, secrets_id=[secret["id"]], name=f"journey {folder.name}")
    sha = git(repository, "rev-parse", "HEAD")
    with listening(stack.admin) as reader:
        executor_id = stack.launch(project_id, "@deploy")
        build_id = stack.build_id(executor_id)
        live = until(lambda: _with("building", stack.live(executor_id, "build")))
        running = [one for one in stack.admin.get("/developer/builds/executeds").json() if one["build_id"] == build_id]
        commit(repository, {"ci/report.sh": "echo a later commit is not part of this build"})
        gate.open()
        build = stack.finished(executor_id)
        until(lambda: "BuildFinished" in reader.names(build_id))
        events = list(reader.seen)
    with listening(stack.admin, **{"Last-Event-ID": events[0].id}) as reader:
        until(lambda: "BuildFinished" in reader.names(build_id))
        late = list(reader.seen)
    return Journey(project_id, executor_id, sha, running[0], live, build, stack.log(build_id), events, late)


def _with(text: str, answer: Answer) -> Answer:
    return answer if text in answer.get("log", "") else {}


def test_the_build_succeeds_at_the_commit_that_was_the_newest(journey: Journey) -> None:
    assert (journey.build["exit_code"], journey.build["exit_message"], journey.build["output"]) == (0, None, None)
    assert (journey.build["sha"], journey.build["ref"]) == (journey.sha, "refs/heads/main")
    assert journey.build["created_at"] < journey.build["completed_at"]


def test_the_steps_run_in_order_and_the_ignored_one_is_skipped(journey: Journey) -> None:
    assert list(journey.log) == ["init", "build", "test", "deploy", "report"]
    assert journey.log["deploy"].splitlines() == ["Step @deploy ...", "Step @deploy skipped"]
    assert "reported" in journey.log["report"]
    assert "later commit" not in journey.log["report"]


def test_what_one_step_sets_reaches_the_next(journey: Journey) -> None:
    assert "testing kept with first and 'second'" in journey.log["test"]
    assert journey.sha in journey.log["test"]


def test_the_secret_is_masked_while_the_build_runs_and_afterwards(journey: Journey) -> None:
    assert "the token is [MASKED]" in journey.live["log"]
    assert "the token is [MASKED]" in journey.log["build"]


def test_the_log_is_there_while_the_build_runs(journey: Journey) -> None:
    assert journey.live["step"] == "build"
    assert journey.live["line_number"] == 3
    assert journey.live["closed_at"] is None
    assert journey.live["log"].startswith("\nStep @build ...")


def test_a_running_build_is_listed_under_the_id_that_the_launch_gave(journey: Journey) -> None:
    assert journey.running["executor_id"] == journey.executor_id
    assert journey.running["project_id"] == journey.project_id
    assert journey.running["at"]


def test_the_live_log_is_gone_ten_seconds_after_the_build(stack: RunningStack, journey: Journey) -> None:
    until(lambda: not stack.live(journey.executor_id, "build"), within=20, what="the live log stays")
    answer = stack.admin.get(f"/developer/logs/{journey.executor_id}/build/0")
    assert (answer.status_code, answer.json()["message"]) == (404, "EXECUTOR_NOT_FOUND")


def test_the_log_tells_how_each_step_went(stack: RunningStack, journey: Journey) -> None:
    shown = [
        stack.admin.get(f"/developer/logs/{journey.build['id']}/{before}").json()
        for before in ("-1", "init", "build", "test", "deploy")
    ]
    assert [(one["step"], one["success"], one["skipped"]) for one in shown] == [
        ("init", True, None),
        ("build", True, None),
        ("test", True, None),
        ("deploy", True, True),
        ("report", True, None),
    ]
    assert all(one["build_id"] == journey.build["id"] and one["closed_at"] >= one["start_at"] for one in shown)


def test_the_project_shows_its_steps_and_its_last_build(stack: RunningStack, journey: Journey) -> None:
    expected = {"exit_code": 0, "exit_message": None, "created_at": journey.build["created_at"]}
    until(lambda: stack.shown(journey.project_id)["last_build"] == expected)
    project = stack.shown(journey.project_id)
    assert project["available_steps"] == ["@build", "@test", "@deploy", "@report", "@cleanup"]
    assert project["builds_id"] == [journey.build["id"]]


def test_the_builds_of_the_project_are_listed(stack: RunningStack, journey: Journey) -> None:
    listed = stack.admin.get(f"/developer/builds/by/project/{journey.project_id}").json()
    assert listed == [journey.build]


def test_a_page_of_projects_shows_how_the_last_build_ended(stack: RunningStack, journey: Journey) -> None:
    page = stack.admin.get("/developer/paginations/project", params={"id[eq]": journey.project_id}).json()
    assert {"current_page": 1, "from": 1, "to": 1, "per_page": 20, "total": 1, "last_page": 1}.items() <= page.items()
    assert page["data"][0]["project_id"] == journey.project_id
    assert page["data"][0]["build_last_exit_code"] == 0
    assert page["data"][0]["build_last_created_at"] == journey.build["created_at"]


def test_a_page_of_developers_shows_the_administrator(stack: RunningStack) -> None:
    page = stack.admin.get("/developer/paginations/developer", params={"user_username[eq]": "admin"}).json()
    assert [(one["user_username"], one["user_role"]) for one in page["data"]] == [("admin", "ROLE_ADMIN")]


def test_a_page_of_secrets_shows_no_value(stack: RunningStack, journey: Journey) -> None:
    page = stack.admin.get("/developer/paginations/secret", params={"secret_name[eq]": "MAIN_TOKEN"})
    assert [one["secret_scope"] for one in page.json()["data"]] == ["PRIVATE"]
    assert CANARY not in page.text


def test_everybody_is_told_who_they_are(stack: RunningStack) -> None:
    shown = stack.admin.get("/user/info").json()
    assert shown["username"] == "admin"
    assert set(shown["roles"]) == {"ROLE_ADMIN", "ROLE_DEVELOPER"}


def test_a_ping_is_answered_without_a_token(stack: RunningStack) -> None:
    with stack.client() as stranger:
        assert stranger.get("/guest/ping").status_code == 200


def test_the_live_events_tell_the_build_from_its_queue_to_its_end(journey: Journey) -> None:
    names = [event.name for event in journey.events if event.body.get("build_id") == journey.build["id"]]
    assert _first_ones(names) == EVENTS
    assert names.count("StepStarted") == 4
    assert names.count("StepFinished") == 4
    assert names[-1] == "BuildFinished"


def test_a_reader_who_comes_back_misses_nothing_and_sees_nothing_twice(journey: Journey) -> None:
    known = [event for event in journey.events if event.body.get("build_id") == journey.build["id"]]
    late = [event for event in journey.late_events if event.body.get("build_id") == journey.build["id"]]
    assert [event.body for event in late] == [event.body for event in known if event.id != journey.events[0].id]


async def test_the_stream_holds_the_same_events_as_cloud_events(nats: Client, journey: Journey) -> None:
    number = journey.build["id"]
    messages = [one for one in await stored(nats, "builds") if f'"build_id":{number},' in one.data.decode()]
    names = [one.subject.rpartition(".")[2] for one in messages]
    assert _first_ones(names) == EVENTS
    headers = [one.headers or {} for one in messages]
    assert all(one.keys() >= HEADERS for one in headers)
    assert [one["ce-type"] for one in headers] == names
    assert [f"evt.builds.{one['ce-subject']}.{one['ce-type']}" for one in headers] == [one.subject for one in messages]
    assert len({one["ce-id"] for one in headers}) == len(messages)


async def test_what_follows_from_a_launch_carries_its_trace(nats: Client, journey: Journey) -> None:
    number = journey.build["id"]
    messages = [one for one in await stored(nats, "builds") if f'"build_id":{number},' in one.data.decode()]
    traces = {one.subject.rpartition(".")[2]: (one.headers or {})["traceparent"].split("-")[1] for one in messages}
    assert traces["BuildQueued"] == traces["BuildPlanned"] == traces["JobQueued"]


def _first_ones(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in EVENTS]
