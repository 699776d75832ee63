"""One build from launch to end, as seen by its developer through the API and on the event stream."""

from dataclasses import dataclass

import pytest
from nats.aio.client import Client

from tests.support import read_stream_messages
from tests.support.external.repositories import Gate, commit_files, create_sample_repository, run_git
from tests.support.stacks.live_events import LiveEvent, reading_live_events
from tests.support.stacks.running_stack import JsonObject, RunningStack
from tests.support.waiting import wait_until

SECRET_VALUE = "a-canary-in-the-mine"
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
EVENTS = [  # names of the expected events, in the order of their first occurrence
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
class MainBuild:
    project_id: int
    executor_id: str
    sha: str
    running: JsonObject  # the build's entry in the list of running builds
    live: JsonObject
    build: JsonObject
    log: dict[str, str]
    events: list[LiveEvent]
    late_events: list[LiveEvent]  # received after a reconnect with the id of the first event


@pytest.fixture(scope="module")
def main_build(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> MainBuild:
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
    secret = stack.create("secret", name="MAIN_TOKEN", value=SECRET_VALUE)
    project_id = stack.create_project(repository, secrets_id=[secret["id"]], name=f"journey {folder.name}")
    sha = run_git(repository, "rev-parse", "HEAD")
    with reading_live_events(stack.admin) as reader:
        executor_id = stack.launch_build(project_id, "@deploy")
        build_id = stack.build_id_of(executor_id)
        live = wait_until(lambda: _if_log_contains("building", stack.read_live_log(executor_id, "build")))
        running = [
            entry for entry in stack.admin.get("/developer/builds/executeds").json() if entry["build_id"] == build_id
        ]
        commit_files(repository, {"ci/report.sh": "echo a later commit is not part of this build"})
        gate.open()
        build = stack.wait_until_finished(executor_id)
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build_id))
        events = list(reader.events)
    with reading_live_events(stack.admin, **{"Last-Event-ID": events[0].id}) as reader:
        wait_until(lambda: "BuildFinished" in reader.event_names_of_build(build_id))
        late = list(reader.events)
    return MainBuild(project_id, executor_id, sha, running[0], live, build, stack.read_log(build_id), events, late)


def _if_log_contains(text: str, response: JsonObject) -> JsonObject:
    return response if text in response.get("log", "") else {}


def test_the_build_succeeds_at_the_newest_commit(main_build: MainBuild) -> None:
    assert (main_build.build["exit_code"], main_build.build["exit_message"], main_build.build["output"]) == (
        0,
        None,
        None,
    )
    assert (main_build.build["sha"], main_build.build["ref"]) == (main_build.sha, "refs/heads/main")
    assert main_build.build["created_at"] < main_build.build["completed_at"]


def test_the_steps_run_in_order_and_the_ignored_one_is_skipped(main_build: MainBuild) -> None:
    assert list(main_build.log) == ["init", "build", "test", "deploy", "report"]
    assert main_build.log["deploy"].splitlines() == ["Step @deploy ...", "Step @deploy skipped"]
    assert "reported" in main_build.log["report"]
    assert "later commit" not in main_build.log["report"]


def test_variables_of_one_step_reach_the_next(main_build: MainBuild) -> None:
    assert "testing kept with first and 'second'" in main_build.log["test"]
    assert main_build.sha in main_build.log["test"]


def test_the_secret_is_masked_while_the_build_runs_and_afterwards(main_build: MainBuild) -> None:
    assert "the token is [MASKED]" in main_build.live["log"]
    assert "the token is [MASKED]" in main_build.log["build"]


def test_the_live_log_is_available_while_the_build_runs(main_build: MainBuild) -> None:
    assert main_build.live["step"] == "build"
    assert main_build.live["line_number"] == 3
    assert main_build.live["closed_at"] is None
    assert main_build.live["log"].startswith("\nStep @build ...")


def test_a_running_build_is_listed_with_its_executor_id(main_build: MainBuild) -> None:
    assert main_build.running["executor_id"] == main_build.executor_id
    assert main_build.running["project_id"] == main_build.project_id
    assert main_build.running["at"]


def test_the_live_log_is_removed_ten_seconds_after_the_build(stack: RunningStack, main_build: MainBuild) -> None:
    wait_until(
        lambda: not stack.read_live_log(main_build.executor_id, "build"),
        within=20,
        message="the live log is still available",
    )
    response = stack.admin.get(f"/developer/logs/{main_build.executor_id}/build/0")
    assert (response.status_code, response.json()["message"]) == (404, "EXECUTOR_NOT_FOUND")


def test_the_log_shows_the_result_of_each_step(stack: RunningStack, main_build: MainBuild) -> None:
    sections = [
        stack.admin.get(f"/developer/logs/{main_build.build['id']}/{before}").json()
        for before in ("-1", "init", "build", "test", "deploy")
    ]
    assert [(section["step"], section["success"], section["skipped"]) for section in sections] == [
        ("init", True, None),
        ("build", True, None),
        ("test", True, None),
        ("deploy", True, True),
        ("report", True, None),
    ]
    assert all(
        section["build_id"] == main_build.build["id"] and section["closed_at"] >= section["start_at"]
        for section in sections
    )


def test_the_project_shows_its_steps_and_its_last_build(stack: RunningStack, main_build: MainBuild) -> None:
    expected = {"exit_code": 0, "exit_message": None, "created_at": main_build.build["created_at"]}
    wait_until(lambda: stack.get_project(main_build.project_id)["last_build"] == expected)
    project = stack.get_project(main_build.project_id)
    assert project["available_steps"] == ["@build", "@test", "@deploy", "@report", "@cleanup"]
    assert project["builds_id"] == [main_build.build["id"]]


def test_the_builds_of_the_project_are_listed(stack: RunningStack, main_build: MainBuild) -> None:
    listed = stack.admin.get(f"/developer/builds/by/project/{main_build.project_id}").json()
    assert listed == [main_build.build]


def test_a_page_of_projects_shows_the_result_of_the_last_build(stack: RunningStack, main_build: MainBuild) -> None:
    page = stack.admin.get("/developer/paginations/project", params={"id[eq]": main_build.project_id}).json()
    assert {"current_page": 1, "from": 1, "to": 1, "per_page": 20, "total": 1, "last_page": 1}.items() <= page.items()
    assert page["data"][0]["project_id"] == main_build.project_id
    assert page["data"][0]["build_last_exit_code"] == 0
    assert page["data"][0]["build_last_created_at"] == main_build.build["created_at"]


def test_a_page_of_developers_shows_the_administrator(stack: RunningStack) -> None:
    page = stack.admin.get("/developer/paginations/developer", params={"user_username[eq]": "admin"}).json()
    assert [(row["user_username"], row["user_role"]) for row in page["data"]] == [("admin", "ROLE_ADMIN")]


def test_a_page_of_secrets_shows_no_value(stack: RunningStack, main_build: MainBuild) -> None:
    page = stack.admin.get("/developer/paginations/secret", params={"secret_name[eq]": "MAIN_TOKEN"})
    assert [row["secret_scope"] for row in page.json()["data"]] == ["PRIVATE"]
    assert SECRET_VALUE not in page.text


def test_user_info_returns_the_current_user(stack: RunningStack) -> None:
    user = stack.admin.get("/user/info").json()
    assert user["username"] == "admin"
    assert set(user["roles"]) == {"ROLE_ADMIN", "ROLE_DEVELOPER"}


def test_a_ping_is_answered_without_a_token(stack: RunningStack) -> None:
    with stack.create_client() as anonymous:
        assert anonymous.get("/guest/ping").status_code == 200


def test_live_events_cover_the_build_from_queue_to_end(main_build: MainBuild) -> None:
    names = [event.name for event in main_build.events if event.body.get("build_id") == main_build.build["id"]]
    assert _first_occurrences(names) == EVENTS
    assert names.count("StepStarted") == 4
    assert names.count("StepFinished") == 4
    assert names[-1] == "BuildFinished"


def test_a_reconnected_event_reader_misses_and_repeats_nothing(main_build: MainBuild) -> None:
    known = [event for event in main_build.events if event.body.get("build_id") == main_build.build["id"]]
    late = [event for event in main_build.late_events if event.body.get("build_id") == main_build.build["id"]]
    assert [event.body for event in late] == [event.body for event in known if event.id != main_build.events[0].id]


async def test_the_stream_holds_the_same_events_as_cloud_events(nats_client: Client, main_build: MainBuild) -> None:
    number = main_build.build["id"]
    messages = [
        message
        for message in await read_stream_messages(nats_client, "builds")
        if f'"build_id":{number},' in message.data.decode()
    ]
    names = [message.subject.rpartition(".")[2] for message in messages]
    assert _first_occurrences(names) == EVENTS
    headers = [message.headers or {} for message in messages]
    assert all(header.keys() >= HEADERS for header in headers)
    assert [header["ce-type"] for header in headers] == names
    assert [f"evt.builds.{header['ce-subject']}.{header['ce-type']}" for header in headers] == [
        message.subject for message in messages
    ]
    assert len({header["ce-id"] for header in headers}) == len(messages)


async def test_events_that_follow_a_launch_carry_its_trace(nats_client: Client, main_build: MainBuild) -> None:
    number = main_build.build["id"]
    messages = [
        message
        for message in await read_stream_messages(nats_client, "builds")
        if f'"build_id":{number},' in message.data.decode()
    ]
    traces = {
        message.subject.rpartition(".")[2]: (message.headers or {})["traceparent"].split("-")[1] for message in messages
    }
    assert traces["BuildQueued"] == traces["BuildPlanned"] == traces["JobQueued"]


def _first_occurrences(names: list[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name in EVENTS]
