"""`headrace demo`: a stack, a repository and a build of it, in front of the visitor's eyes."""

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

from infra.demo.api_client import ApiClient, ApiError
from infra.demo.demo_stack import DemoStack, StartFailed, get_admin_login, run_demo_stack
from infra.demo.log_reader import LogReader
from infra.demo.repository import SECRET_NAME, Repository, select_repository, serve_repository
from infra.demo.ui import Ui
from infra.event_stream import EventRecord, connect_to_nats, fetch_events
from infra.local.process import OperatorError
from infra.local.stack_commands import connect_to_stack
from libs.settings import Settings

EVENT_TIMEOUT_SECONDS = 10.0  # seconds until the last event of a finished build must be published
EXIT_INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class DemoProject:
    developer: str
    password: str
    project_id: int


def run_demo() -> None:
    """Exit status 0 only if the build succeeded. With HEADRACE_URL on the system that runs there, else on a stack of
    its own, which KEEP=1 leaves running."""
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
    ui.show_title("What happened, as the event stream tells it")
    ui.show_events(asyncio.run(_fetch_build_events(settings, began, build["id"])))
    ui.show_title("Where to go next")
    ui.show_next_steps(_next_steps(settings, stack.url, keeps_running=stack.keeps_running))
    ui.show_text("")
    return bool(build["exit_code"] == 0)


def _run_on_remote_system(ui: Ui) -> bool:
    """On a system that may be anywhere: all of it over HTTP, also the sample repository."""
    settings = Settings.from_environment(os.environ)
    if not settings.admin_password:
        raise OperatorError(f"HEADRACE_ADMIN_PASSWORD must be the password of {settings.admin_username} there.")
    login = settings.admin_username, settings.admin_password
    with serve_repository(
        select_repository(os.environ, settings.data / "sample-repository"), settings.url
    ) as repository:
        build = _run_build(ui, settings.url, login, repository)
    return bool(build["exit_code"] == 0)


def _run_build(ui: Ui, url: str, administrator: tuple[str, str], repository: Repository) -> dict[str, Any]:
    ui.show_title("What the build needs, made over the HTTP API")
    with ApiClient.sign_in(url, *administrator) as admin:
        prepared = _create_project(ui, admin, repository)
    with ApiClient.sign_in(url, prepared.developer, prepared.password) as developer:
        launched = developer.post(f"/developer/builds/{prepared.project_id}", build={"ignore_steps": []})
        ui.show_title(f"Build {launched['build_id']} of {launched['project_name']}")
        for news in LogReader(developer, launched["executor_id"], launched["build_id"]).read_events():
            ui.show_log_event(news)
        ui.stop_spinner()
        build: dict[str, Any] = developer.get(f"/developer/builds/{launched['build_id']}")
    _print_result(ui, build)
    return build


def _create_project(ui: Ui, admin: ApiClient, repository: Repository) -> DemoProject:
    """A number makes the names of a further run new."""
    password = secrets.token_urlsafe(12)
    for number in count(1):
        fields = {"username": f"dana-{number}", "password": password, "roles": ["ROLE_DEVELOPER"]}
        try:
            user = admin.post("/admin/developers", developer=fields)
            break
        except ApiError as refusal:
            if refusal.code != "DEVELOPER_USERNAME_TAKEN":
                raise
    ui.show_field("developer", f"{user['username']}, with the role to launch builds")
    executor = admin.get("/admin/executors")[0]
    project = admin.post(
        "/admin/projects",
        project={
            "name": f"demo-{number}",
            "description": "Made by `headrace demo`",
            "repository": repository.url,
            "branch": repository.branch,
            "spec_file_path": repository.spec,
            "allow_concurrent_execution": True,
            "executor_id": executor["id"],
            "developers_id": [user["id"]],
        },
    )
    made = " (a sample, made just now)" if repository.is_sample else ""
    ui.show_field("project", f"{project['name']}, of {repository.url}{made}, spec file {repository.spec}")
    secret = {"name": SECRET_NAME, "value": secrets.token_urlsafe(16), "projects_id": [project["id"]]}
    admin.post("/admin/secrets", secret=secret)
    ui.show_field("secret", f"{SECRET_NAME}, for this project alone; watch how the log shows it")
    return DemoProject(user["username"], password, project["id"])


def _print_result(ui: Ui, build: Mapping[str, Any]) -> None:
    good = build["exit_code"] == 0
    took = datetime.fromisoformat(build["completed_at"]) - datetime.fromisoformat(build["created_at"])
    ending = (
        "succeeded" if good else f"failed with exit code {build['exit_code']}: {build['exit_message'] or 'no message'}"
    )
    ui.show_text("")
    ui.show_result(f"Build {build['id']} {ending}, after {took.total_seconds():.1f} s", success=good)
    if build["output"] and not good:
        ui.show_text(build["output"])


async def _fetch_build_events(settings: Settings, since: datetime, build_id: int) -> list[EventRecord]:
    """From JetStream, once it has the end of the build, which comes a moment after the answer says so."""
    client = await connect_to_nats(settings, "demo")
    try:
        deadline = time.monotonic() + EVENT_TIMEOUT_SECONDS
        while True:
            events = await fetch_events(client, since)
            ended = any(one.name == "BuildFinished" and one.payload["build_id"] == build_id for one in events)
            if ended or time.monotonic() > deadline:
                return [one for one in events if one.payload.get("build_id", build_id) == build_id]
            await asyncio.sleep(0.1)
    finally:
        await client.close()


def _next_steps(settings: Settings, url: str, *, keeps_running: bool) -> dict[str, str]:
    command = _command_name()
    if not keeps_running:
        return {
            "The same again, and the stack stays up": "make demo KEEP=1",
            "A repository of your own": "make demo REPO=/path/or/address BRANCH=main SPEC=/headrace.yaml",
            "A stack of your own, in the foreground until Ctrl-C": f"{command} up",
        }
    data = _relative_path(settings.data)
    password = "..." if settings.admin_password else f"'$(cat {data}/secrets/admin-password)'"
    body = f'''{{"auth": {{"username": "{settings.admin_username}", "password": "{password}"}}}}'''
    return {
        "The API, with every route": f"{url}/api/docs",
        "Log in, to get a token": f"curl -H 'content-type: application/json' -d '{body}' {url}/api/auth/token",
        "What runs": f"{command} status --data {data}",
        "What happens, as it happens": f"{command} events --from start --data {data}",
        "Stop it": f"{command} down --data {data}",
    }


def _command_name() -> str:
    """As the visitor called it, or as it can be called from here."""
    return _relative_path(Path(sys.argv[0]).absolute()) if sys.argv[0].endswith("headrace") else "headrace"


def _relative_path(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
