"""`headrace server demo`: build a repository on a local stack or on a remote system, and show the build's log.

On a local stack, the demo also shows the build's events.
"""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from client.errors import ApiError
from client.http_client import Client
from infra.demo.demo_stack import DemoStack, StartFailed, get_admin_login, run_demo_stack
from infra.demo.log_reader import LogReader
from infra.demo.repository import SECRET_NAME, Repository, select_repository, serve_repository
from infra.demo.ui import Ui
from infra.event_stream import EventRecord, connect_to_nats, fetch_events
from infra.local.process import OperatorError
from infra.local.stack_commands import connect_to_stack
from libs.settings import Settings

EVENT_TIMEOUT_SECONDS = 10.0  # maximum wait for the last event after the build has ended
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class DemoProject:
    developer: str
    password: str
    project_id: int


def run_demo() -> None:
    """Run the demo, then exit: status 0 if the build succeeded, otherwise another status.

    Uses the system at HEADRACE_URL, or else a local stack, which KEEP=1 leaves running.
    """
    keep = os.environ.get("KEEP", "") not in ("", "0")
    url = os.environ.get("HEADRACE_URL", "")
    try:
        with Ui() as screen:
            if url:
                good = _run_on_remote_system(screen)
            else:
                with run_demo_stack(screen, keep=keep) as stack:
                    good = _run_on_local_stack(screen, stack)
    except StartFailed as ended:
        sys.exit(ended.status)
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    sys.exit(0 if good else 1)


def _run_on_local_stack(ui: Ui, stack: DemoStack) -> bool:
    connect_to_stack("migrate")
    settings = Settings.from_environment(os.environ)
    repository = select_repository(os.environ, settings.data / "sample-repository")
    began = datetime.now(UTC)
    build = _run_build(ui, stack.url, get_admin_login(settings), repository)
    ui.show_title("Events of this build")
    ui.show_events(asyncio.run(_fetch_build_events(settings, began, build["id"])))
    ui.show_title("Next steps")
    ui.show_next_steps(_next_steps(settings, stack.url, build["id"], keeps_running=stack.keeps_running))
    ui.show_text("")
    return bool(build["exit_code"] == 0)


def _run_on_remote_system(ui: Ui) -> bool:
    """Run the demo on the system at HEADRACE_URL, which fetches the sample repository from this process over HTTP."""
    settings = Settings.from_environment(os.environ)
    if not settings.admin_password:
        raise OperatorError(f"Set HEADRACE_ADMIN_PASSWORD to the password of {settings.admin_username} on that system.")
    login = settings.admin_username, settings.admin_password
    with serve_repository(
        select_repository(os.environ, settings.data / "sample-repository"), settings.url
    ) as repository:
        build = _run_build(ui, settings.url, login, repository)
    return bool(build["exit_code"] == 0)


def _run_build(ui: Ui, url: str, administrator: tuple[str, str], repository: Repository) -> dict[str, Any]:
    ui.show_title("Setting up a project over the HTTP API")
    with Client.sign_in(url, *administrator) as admin:
        prepared = _create_project(ui, admin, repository)
    with Client.sign_in(url, prepared.developer, prepared.password) as developer:
        launched = developer.post(f"/developer/builds/{prepared.project_id}", {"build": {"ignore_steps": []}})
        ui.show_title(f"Build {launched['build_id']} of {launched['project_name']}")
        for news in LogReader(developer, launched["executor_id"], launched["build_id"]).read_events():
            ui.show_log_event(news)
        ui.stop_spinner()
        build: dict[str, Any] = developer.get(f"/developer/builds/{launched['build_id']}")
    _print_result(ui, build)
    return build


def _create_project(ui: Ui, admin: Client, repository: Repository) -> DemoProject:
    """Create a developer, a project and its secret. A number makes the names of developer and project unique."""
    password = secrets.token_urlsafe(12)
    for number in count(1):
        fields = {"username": f"dana-{number}", "password": password, "roles": ["ROLE_DEVELOPER"]}
        try:
            user = admin.post("/admin/developers", {"developer": fields})
            break
        except ApiError as refusal:
            if refusal.code != "DEVELOPER_USERNAME_TAKEN":
                raise
    ui.show_field("developer", f"{user['username']}, may launch builds")
    executor = admin.get("/admin/executors")[0]
    project = admin.post(
        "/admin/projects",
        {
            "project": {
                "name": f"demo-{number}",
                "description": "Created by `headrace server demo`",
                "repository": repository.url,
                "branch": repository.branch,
                "spec_file_path": repository.spec,
                "allow_concurrent_execution": True,
                "executor_id": executor["id"],
                "developers_id": [user["id"]],
            }
        },
    )
    made = " (a new sample)" if repository.is_sample else ""
    ui.show_field("project", f"{project['name']}, of {repository.url}{made}, spec file {repository.spec}")
    secret = {"name": SECRET_NAME, "value": secrets.token_urlsafe(16), "projects_id": [project["id"]]}
    admin.post("/admin/secrets", {"secret": secret})
    ui.show_field("secret", f"{SECRET_NAME}, for this project only; its value is masked in the log")
    return DemoProject(user["username"], password, project["id"])


def _print_result(ui: Ui, build: Mapping[str, Any]) -> None:
    good = build["exit_code"] == 0
    took = datetime.fromisoformat(build["completed_at"]) - datetime.fromisoformat(build["created_at"])
    ending = (
        "succeeded" if good else f"failed with exit code {build['exit_code']}: {build['exit_message'] or 'no message'}"
    )
    ui.show_text("")
    ui.show_result(f"Build {build['id']} {ending}, in {took.total_seconds():.1f} s", success=good)
    if build["output"] and not good:
        ui.show_text(build["output"])


async def _fetch_build_events(settings: Settings, since: datetime, build_id: int) -> list[EventRecord]:
    """Return the events since `since` from JetStream, without events of other builds.

    Waits up to EVENT_TIMEOUT_SECONDS for the last event: the API may report the end of the build before that event is
    published.
    """
    client = await connect_to_nats(settings, "demo")
    try:
        deadline = time.monotonic() + EVENT_TIMEOUT_SECONDS
        while True:
            events = await fetch_events(client, since)
            ended = any(event.name == "BuildFinished" and event.payload["build_id"] == build_id for event in events)
            if ended or time.monotonic() > deadline:
                return [event for event in events if event.payload.get("build_id", build_id) == build_id]
            await asyncio.sleep(0.1)
    finally:
        await client.close()


def _next_steps(settings: Settings, url: str, build_id: int, *, keeps_running: bool) -> dict[str, str]:
    command = _command_name()
    if not keeps_running:
        return {
            "Run the demo again and keep the stack running": "make demo KEEP=1",
            "Build a repository of your own": "make demo REPO=/path/or/url BRANCH=main SPEC=/headrace.yaml",
            "Start a stack in the foreground": f"{command} server up",
        }
    data = _relative_path(settings.data)
    password = "..." if settings.admin_password else f"'$(cat {data}/secrets/admin-password)'"
    where = "HEADRACE_ADMIN_PASSWORD" if settings.admin_password else f"in {data}/secrets/admin-password"
    body = f'''{{"auth": {{"username": "{settings.admin_username}", "password": "{password}"}}}}'''
    return {
        "See the build in a browser": f"{url}/ui/builds/{build_id}",
        "Sign in there": f"as {settings.admin_username}; the password is {where}",
        "Browse the API": f"{url}/api/docs",
        "Get a token": f"curl -H 'content-type: application/json' -d '{body}' {url}/api/auth/token",
        "Show the processes": f"{command} server status --data {data}",
        "Follow the events": f"{command} events --from start --data {data}",
        "Stop the stack": f"{command} server down --data {data}",
    }


def _command_name() -> str:
    """Return the name or path with which the user can call `headrace` from the current folder."""
    return _relative_path(Path(sys.argv[0]).absolute()) if sys.argv[0].endswith("headrace") else "headrace"


def _relative_path(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
