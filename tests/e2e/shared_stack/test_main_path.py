"""One build from the log-in to its end, as its developer sees it and as the events tell it."""

from dataclasses import dataclass

import pytest
from nats.aio.client import Client

from tests.support import read_stream_messages
from tests.support.external.repositories import Gate, commit_files, create_sample_repository, run_git
from tests.support.stacks.live_events import LiveEvent, reading_live_events
from tests.support.stacks.running_stack import JsonObject, RunningStack, wait_until

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
    running: JsonObject  # its entry among those that run
    live: JsonObject  # its log while it ran
    build: JsonObject
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
    repository = create_sample_repository(folder / "repository", steps, SPEC)
    secret = stack.create("secret", name="MAIN_TOKEN", value=CANARY)
    project_id = stack.create_project(repository, secrets_id=[secret["id"]], name=f"journey {folder.name}")
    sha = run_git(repository, "rev-parse", "HEAD")
    with reading_live_events(stack.admin) as reader:
        executor_id = stack.launch_build(project_id, "@deploy")
        build_id = stack.build_id_of(executor_id)
        live = wait_until(lambda: _with("building", stack.read_live_log(executor_id, "build")))
        running = [one for one in stack.admin.get("/developer/builds/executeds").json() if one["build_id"] == build_id]
        commit_files(repository, {"ci/report.sh": "echo a later commit is not part of this build"})
        gate.open()
        build = stack.wait_until_finished(executor_id)
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build_id))
        events = list(reader.events)
    with reading_live_events(stack.admin, **{"Last-Event-ID": events[0].id}) as reader:
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build_id))
        late = list(reader.events)
    return Journey(project_id, executor_id, sha, running[0], live, build, stack.read_log(build_id), events, late)


def _with(text: str, answer: JsonObject) -> JsonObject:
    return answer if text in answer.get("log", "") else {}


def test_the_build_succeeds_at_the_newest_commit(journey: Journey) -> None:
    assert (journey.build["exit_code"], journey.build["exit_message"], journey.build["output"]) == (0, None, None)
    assert (journey.build["sha"], journey.build["ref"]) == (journey.sha, "refs/heads/main")
    assert journey.build["created_at"] < journey.build["completed_at"]


def test_the_steps_run_in_order_and_the_ignored_one_is_skipped(journey: Journey) -> None:
    assert list(journey.log) == ["init", "build", "test", "deploy", "report"]
    assert journey.log["deploy"].splitlines() == ["Step @deploy ...", "Step @deploy skipped"]
    assert "reported" in journey.log["report"]
    assert "later commit" not in journey.log["report"]


def test_variables_of_one_step_reach_the_next(journey: Journey) -> None:
    assert "testing kept with first and 'second'" in journey.log["test"]
    assert journey.sha in journey.log["test"]


def test_the_secret_is_masked_while_the_build_runs_and_afterwards(journey: Journey) -> None:
    assert "the token is [MASKED]" in journey.live["log"]
    assert "the token is [MASKED]" in journey.log["build"]


def test_the_live_log_is_available_while_the_build_runs(journey: Journey) -> None:
    assert journey.live["step"] == "build"
    assert journey.live["line_number"] == 3
    assert journey.live["closed_at"] is None
    assert journey.live["log"].startswith("\nStep @build ...")


def test_a_running_build_is_listed_with_its_executor_id(journey: Journey) -> None:
    assert journey.running["executor_id"] == journey.executor_id
    assert journey.running["project_id"] == journey.project_id
    assert journey.running["at"]


def test_the_live_log_is_removed_ten_seconds_after_the_build(stack: RunningStack, journey: Journey) -> None:
    wait_until(lambda: not stack.read_live_log(journey.executor_id, "build"), within=20, what="the live log stays")
    answer = stack.admin.get(f"/developer/logs/{journey.executor_id}/build/0")
    assert (answer.status_code, answer.json()["message"]) == (404, "EXECUTOR_NOT_FOUND")


def test_the_log_shows_the_result_of_each_step(stack: RunningStack, journey: Journey) -> None:
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
    wait_until(lambda: stack.get_project(journey.project_id)["last_build"] == expected)
    project = stack.get_project(journey.project_id)
    assert project["available_steps"] == ["@build", "@test", "@deploy", "@report", "@cleanup"]
    assert project["builds_id"] == [journey.build["id"]]


def test_the_builds_of_the_project_are_listed(stack: RunningStack, journey: Journey) -> None:
    listed = stack.admin.get(f"/developer/builds/by/project/{journey.project_id}").json()
    assert listed == [journey.build]


def test_a_page_of_projects_shows_the_result_of_the_last_build(stack: RunningStack, journey: Journey) -> None:
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


def test_user_info_returns_the_current_user(stack: RunningStack) -> None:
    shown = stack.admin.get("/user/info").json()
    assert shown["username"] == "admin"
    assert set(shown["roles"]) == {"ROLE_ADMIN", "ROLE_DEVELOPER"}


def test_a_ping_is_answered_without_a_token(stack: RunningStack) -> None:
    with stack.create_client() as stranger:
        assert stranger.get("/guest/ping").status_code == 200


def test_live_events_cover_the_build_from_queue_to_end(journey: Journey) -> None:
    names = [event.name for event in journey.events if event.body.get("build_id") == journey.build["id"]]
    assert _first_ones(names) == EVENTS
    assert names.count("StepStarted") == 4
    assert names.count("StepFinished") == 4
    assert names[-1] == "BuildFinished"


def test_a_reconnected_event_reader_misses_and_repeats_nothing(journey: Journey) -> None:
    known = [event for event in journey.events if event.body.get("build_id") == journey.build["id"]]
    late = [event for event in journey.late_events if event.body.get("build_id") == journey.build["id"]]
    assert [event.body for event in late] == [event.body for event in known if event.id != journey.events[0].id]


async def test_the_stream_holds_the_same_events_as_cloud_events(nats: Client, journey: Journey) -> None:
    number = journey.build["id"]
    messages = [
        one for one in await read_stream_messages(nats, "builds") if f'"build_id":{number},' in one.data.decode()
    ]
    names = [one.subject.rpartition(".")[2] for one in messages]
    assert _first_ones(names) == EVENTS
    headers = [one.headers or {} for one in messages]
    assert all(one.keys() >= HEADERS for one in headers)
    assert [one["ce-type"] for one in headers] == names
    assert [f"evt.builds.{one['ce-subject']}.{one['ce-type']}" for one in headers] == [one.subject for one in messages]
    assert len({one["ce-id"] for one in headers}) == len(messages)


async def test_events_that_follow_a_launch_carry_its_trace(nats: Client, journey: Journey) -> None:
    number = journey.build["id"]
    messages = [
        one for one in await read_stream_messages(nats, "builds") if f'"build_id":{number},' in one.data.decode()
    ]
    traces = {one.subject.rpartition(".")[2]: (one.headers or {})["traceparent"].split("-")[1] for one in messages}
    assert traces["BuildQueued"] == traces["BuildPlanned"] == traces["JobQueued"]


def _first_ones(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in EVENTS]
