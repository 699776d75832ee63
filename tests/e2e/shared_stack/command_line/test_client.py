"""The command line of users with an empty home folder: from the sign-in to the end of a build."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.command_line_home import Home
from tests.support.external.notification_receiver import notification_receiver
from tests.support.external.repositories import SPEC_FILE, Gate, commit_files, create_sample_repository
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import wait_until

SPEC = """
version: "1.0"
from: debian
steps:
  - {name: "@build", script: /ci/build.sh}
  - {name: "@test", script: /ci/test.sh}
"""


@pytest.fixture
def home(stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    monkeypatch.delenv("HEADRACE_URL", raising=False)
    monkeypatch.delenv("HEADRACE_TOKEN", raising=False)
    home = Home({"XDG_CONFIG_HOME": str(tmp_path / "home")})
    password = (stack.data / "secrets" / "admin-password").read_text()
    home.run("login", f"{stack.url}/ui/", "--username", "admin", "--password-stdin", text=password)
    yield home
    home.run("logout")


def test_a_person_creates_a_project_and_follows_its_builds(home: Home, stack: RunningStack, tmp_path: Path) -> None:
    assert home.read("whoami")["username"] == "admin"
    gate = Gate(tmp_path / "gate")
    steps = {"build": f"echo first\n{gate.script}\necho second", "test": "echo wrong; exit 3"}
    repository = create_sample_repository(tmp_path / "repository", steps, SPEC)
    name = f"client {uuid4().hex[:8]}"
    options = ("--repository", str(repository), "--branch", "main", "--spec-file", SPEC_FILE, "--no-concurrent")
    project = home.read("projects", "create", name, *options, "--keep-log-days", "30", "--keep-artifacts", "20")
    assert [project[name] for name in ("keep_log_days", "keep_number_artifact", "keep_build_days")] == [30, 20, 0]
    assert name in [row["name"] for row in home.read("projects", "ls")]

    running, waiting = (str(home.read("builds", "launch", name)["id"]) for _ in range(2))
    wait_until(lambda: "first" in home.run("builds", "logs", running).stdout)
    [queued] = [row for row in home.read("queue") if str(row["build_id"]) == waiting]
    assert queued["reason"]
    home.run("builds", "priority", waiting, "5")
    assert home.read("builds", "show", waiting)["priority"] == 5
    for build in (waiting, running):
        home.run("builds", "cancel", f"{stack.url}/ui/builds/{build}")
        assert "was canceled" in home.run("builds", "watch", build, exit_code=1).stderr
    assert "BUILD_STATUS" in home.run("builds", "cancel", running, exit_code=1).stderr

    gate.open()
    good = home.run("builds", "launch", name, "--skip", "@test", "--watch")
    lines = good.stdout.splitlines()
    assert lines.count("first") == lines.count("second") == 1
    assert "succeeded" in good.stderr
    bad = home.run("builds", "launch", f"{stack.url}/ui/projects/{project['id']}", "--watch", exit_code=1)
    assert "wrong" in bad.stdout
    assert "failed with exit code 3" in bad.stderr

    builds = home.read("builds", "ls", "--project", name)
    assert {row["project"] for row in builds} == {name}
    assert [row["status"] for row in builds] == ["FAILED", "SUCCESS", "KILLED", "KILLED"]
    failed = str(builds[0]["id"])
    assert [job["status"] for job in home.read("builds", "show", failed)["jobs"]] == ["FAILED"]
    assert "wrong" in home.run("builds", "logs", failed, "--failed", "--tail", "3").stdout
    assert home.run("builds", "logs", failed, "--follow").stdout == home.run("builds", "logs", failed).stdout
    home.run("projects", "rm", name, "--yes")


def test_a_build_is_launched_with_variables(home: Home, stack: RunningStack, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": 'echo "target is $TARGET, $NOTE"'})
    project = str(stack.create_project(repository))
    launch = ("builds", "launch", project, "--variable", "TARGET=staging")
    assert "target is staging, a=b" in home.run(*launch, "-v", "NOTE=a=b", "--watch").stdout.splitlines()
    [build] = home.read("builds", "ls", "--project", project)
    shown = home.run("builds", "show", str(build["id"])).stdout
    assert "TARGET=staging, NOTE=a=b" in shown
    assert home.read("builds", "show", str(build["id"]))["variables"][0] == {"name": "TARGET", "value": "staging"}
    assert "`HOME` is a reserved name" in home.run(*launch, "-v", "HOME=/", exit_code=1).stderr
    assert "not NAME=VALUE" in home.run(*launch, "-v", "NOTE", exit_code=2).stderr


def test_schedules_are_created_changed_and_run(home: Home, stack: RunningStack, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": 'echo "suite is $SUITE"'})
    project = str(stack.create_project(repository))
    options = ("--zone", "Asia/Tokyo", "--variable", "SUITE=all", "--description", "Nightly")
    created = home.read("schedules", "create", project, "30 2 * * 1-5", *options)
    assert (created["cron"], created["zone"], created["active"]) == ("30 2 * * 1-5", "Asia/Tokyo", True)
    number = str(created["id"])
    assert home.read("schedules", "edit", project, number, "--cron", "@weekly")["description"] == "Nightly"
    assert "nothing to change" in home.run("schedules", "edit", project, number, exit_code=2).stderr.lower()
    assert home.read("schedules", "pause", project, number)["next_run_at"] is None
    assert "paused" in home.run("schedules", "ls", project).stdout
    assert home.read("schedules", "resume", project, number)["next_run_at"]
    build = str(home.read("schedules", "run", project, number)["last_build_id"])
    home.run("builds", "watch", build)
    assert "suite is all" in home.run("builds", "logs", build).stdout
    assert f"{number} Nightly" in home.run("builds", "show", build).stdout
    assert [row["last_build_id"] for row in home.read("schedules", "ls", project)] == [int(build)]
    home.run("schedules", "rm", project, number, "--yes")
    assert "SCHEDULE_NOT_FOUND" in home.run("schedules", "run", project, number, exit_code=1).stderr


def test_receivers_are_created_changed_and_notified(home: Home, stack: RunningStack, tmp_path: Path) -> None:
    project = str(stack.create_project(create_sample_repository(tmp_path / "repository", {"build": "true"})))
    with notification_receiver() as receiver:
        create = ("notifications", "create", project, f"{receiver.url}/canary", "--event", "finished")
        created = json.loads(home.run(*create, "--json", text="hush-hush-hush-hush\n").stdout)
        number = str(created["id"])
        assert (created["kind"], created["server"], created["events"]) == ("webhook", receiver.url, ["finished"])
        assert "RECEIVER_SECRET_INVALID" in home.run(*create, text="short\n", exit_code=1).stderr
        build = home.read("builds", "launch", project)["id"]
        home.run("builds", "watch", str(build))
        wait_until(lambda: home.read("notifications", "ls", project)[0]["last_delivery"])
        (sent,) = home.read("notifications", "deliveries", project, "--receiver", number)
        assert sent["build_id"] == build
        wait_until(lambda: receiver.requests)
        wait_until(lambda: "sent" in home.run("notifications", "ls", project).stdout)
        assert home.read("notifications", "resend", project, sent["id"])["repeats"] == sent["id"]
        wait_until(lambda: len(receiver.requests) == 2)
    assert home.read("notifications", "pause", project, number)["active"] is False
    assert home.read("notifications", "edit", project, number, "--event", "fixed")["events"] == ["fixed"]
    assert home.read("notifications", "resume", project, number)["active"] is True
    home.run("notifications", "rm", project, number, "--yes")
    assert home.read("notifications", "mails", project, "--about", "fixed")["events"] == "fixed"
    assert home.read("notifications", "mails", project) == {
        "project_id": int(project),
        "events": "fixed",
        "builds": "own",
    }
    assert home.read("notifications", "ls", project) == []


def test_exit_statuses_are_stable(home: Home, stack: RunningStack, tmp_path: Path) -> None:
    assert "BUILD_NOT_FOUND" in home.run("builds", "show", "99999999", exit_code=1).stderr
    assert "not KEY=VALUE" in home.run("api", "GET", "/user/info", "-f", "x", exit_code=2).stderr
    nowhere = {"HEADRACE_URL": "http://127.0.0.1:1", "HEADRACE_TOKEN": "hrp_x"}
    home.run("whoami", exit_code=3, **nowhere)
    home.run("whoami", exit_code=4, HEADRACE_URL=stack.url, HEADRACE_TOKEN="hrp_x")
    home.run("whoami", exit_code=4, XDG_CONFIG_HOME=str(tmp_path / "empty"))
    wrong = ("login", stack.url, "--username", "stranger", "--password-stdin")
    home.run(*wrong, text="wrong", exit_code=4, XDG_CONFIG_HOME=str(tmp_path / "empty"))


def test_a_sign_out_revokes_the_token(stack: RunningStack, tmp_path: Path) -> None:
    home = Home({"XDG_CONFIG_HOME": str(tmp_path)})
    password = (stack.data / "secrets" / "admin-password").read_text()
    home.run("login", stack.url, "-u", "admin", "--password-stdin", text=password)
    token = json.loads((tmp_path / "headrace" / "servers.json").read_text())["servers"].popitem()[1]["token"]
    home.run("whoami", HEADRACE_URL=stack.url, HEADRACE_TOKEN=token)
    home.run("logout")
    home.run("whoami", exit_code=4)
    with stack.create_client(token) as former:  # each gateway remembers a token for a second
        wait_until(lambda: {former.get("/user/info").status_code for _ in range(16)} == {401})
    home.run("login", stack.url, "--token-stdin", text=token, exit_code=4)


def test_the_raw_api_sends_fields_and_prints_the_response(home: Home) -> None:
    fields = ("-f", "secret.name=MADE_BY_API", "-f", "secret.value=a long value")
    created = json.loads(home.run("api", "POST", "/api/developer/secrets", *fields).stdout)
    assert created["name"] == "MADE_BY_API"
    home.run("api", "DELETE", f"/admin/secrets/{created['id']}")
    page = json.loads(home.run("api", "GET", "/developer/paginations/project", "-f", "per_page=1").stdout)
    assert page["per_page"] == 1


def test_an_administrator_manages_users_secrets_and_runners(home: Home) -> None:
    name = f"u{uuid4().hex[:8]}"
    user = home.run("users", "create", name, "--password-stdin", "--json", text="correct horse battery").stdout
    assert json.loads(user)["roles"] == ["ROLE_DEVELOPER"]
    assert json.loads(home.run("users", "set", name, "--disable", "--json").stdout)["enabled"] is False
    home.run("users", "rm", name, "--yes")
    assert name not in [row["username"] for row in home.read("users", "ls")]

    home.run("secrets", "set", name, text="a long value\n")
    home.run("secrets", "set", name, "--env", "production", text="another value\n")
    assert [row["env"] for row in home.read("secrets", "ls") if row["name"] == name] == ["production"]
    home.run("secrets", "rm", name, "--yes")
    home.run("credentials", "ls")

    runner = next(row for row in home.read("runners", "ls") if row["ownerType"] == "GLOBAL")
    home.run("runners", "pause", runner["id"])
    assert home.read("runners", "show", runner["id"])["active"] is False
    home.run("runners", "resume", runner["id"][:8])
    assert home.read("runners", "show", runner["id"])["active"] is True
    assert home.run("runners", "token").stdout.strip()
    assert [row["name"] for row in home.read("tokens", "ls")]


def test_artifacts_events_and_history_are_read_over_http(home: Home, stack: RunningStack, tmp_path: Path) -> None:
    pipeline = "pack: {script: [mkdir out, echo packed > out/file], artifacts: {paths: [out]}}\n"
    repository = create_sample_repository(tmp_path / "repository")
    commit_files(repository, {".gitlab-ci.yml": pipeline})
    project = stack.create_project(repository, spec_file_path="/.gitlab-ci.yml")
    home.run("builds", "launch", str(project), "--watch")
    [build] = home.read("builds", "ls", "--project", str(project))
    [artifact] = [row for row in home.read("artifacts", "ls", str(build["id"])) if row["artifact_type"] == "archive"]
    home.run("artifacts", "get", str(build["id"]), artifact["file_name"], "--output", str(tmp_path / "got"))
    assert zipfile.ZipFile(tmp_path / "got" / artifact["file_name"]).read("out/file") == b"packed\n"
    [job] = home.read("jobs", "ls", str(build["id"]))
    assert "JOB_STATUS" in home.run("jobs", "play", str(job["id"]), exit_code=1).stderr
    assert "ProjectCreated" in home.run("history", "project", str(project)).stdout
    assert home.run("webhooks", "ls", str(project)).stdout.startswith("id\t")
