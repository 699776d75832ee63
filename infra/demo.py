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

from infra.demonstration.api import Api, Refusal
from infra.demonstration.log import Reader
from infra.demonstration.repository import SECRET, Repository, chosen, reachable
from infra.demonstration.screen import Screen
from infra.demonstration.stack import Ended, Stack, administrator, running_stack
from infra.events import Happened, connected, happened
from infra.local.control import connect
from infra.local.process import StackError
from libs.settings import Settings

PATIENCE = 10.0  # seconds until the last event of a finished build must be published
INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Prepared:
    developer: str
    password: str
    project_id: int


def demo() -> None:
    """Exit status 0 only if the build succeeded. With HEADRACE_URL on the system that runs there, else on a stack of
    its own, which KEEP=1 leaves running."""
    keep = os.environ.get("KEEP", "") not in ("", "0")
    url = os.environ.get("HEADRACE_URL", "")
    try:
        with Screen() as screen:
            if url:
                good = _show_elsewhere(screen)
            else:
                with running_stack(screen, keep=keep) as stack:
                    good = _show_here(screen, stack)
    except Ended as ended:
        sys.exit(ended.status)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    sys.exit(0 if good else 1)


def _show_here(screen: Screen, stack: Stack) -> bool:
    connect("migrate")
    settings = Settings.from_environment(os.environ)
    repository = chosen(os.environ, settings.data / "sample-repository")
    began = datetime.now(UTC)
    build = _build(screen, stack.url, administrator(settings), repository)
    screen.title("What happened, as the event stream tells it")
    screen.events(asyncio.run(_events(settings, began, build["id"])))
    screen.title("Where to go next")
    screen.ways(_ways(settings, stack.url, stays=stack.stays))
    screen.say("")
    return bool(build["exit_code"] == 0)


def _show_elsewhere(screen: Screen) -> bool:
    """On a system that may be anywhere: all of it over HTTP, also the sample repository."""
    settings = Settings.from_environment(os.environ)
    if not settings.admin_password:
        raise StackError(f"HEADRACE_ADMIN_PASSWORD must be the password of {settings.admin_username} there.")
    login = settings.admin_username, settings.admin_password
    with reachable(chosen(os.environ, settings.data / "sample-repository"), settings.url) as repository:
        build = _build(screen, settings.url, login, repository)
    return bool(build["exit_code"] == 0)


def _build(screen: Screen, url: str, administrator: tuple[str, str], repository: Repository) -> dict[str, Any]:
    screen.title("What the build needs, made over the HTTP API")
    with Api.logged_in(url, *administrator) as admin:
        prepared = _prepare(screen, admin, repository)
    with Api.logged_in(url, prepared.developer, prepared.password) as developer:
        launched = developer.post(f"/developer/builds/{prepared.project_id}", build={"ignore_steps": []})
        screen.title(f"Build {launched['build_id']} of {launched['project_name']}")
        for news in Reader(developer, launched["executor_id"], launched["build_id"]).news():
            screen.log(news)
        screen.calm()
        build: dict[str, Any] = developer.get(f"/developer/builds/{launched['build_id']}")
    _tell_result(screen, build)
    return build


def _prepare(screen: Screen, admin: Api, repository: Repository) -> Prepared:
    """A number makes the names of a further run new."""
    password = secrets.token_urlsafe(12)
    for number in count(1):
        fields = {"username": f"dana-{number}", "password": password, "roles": ["ROLE_DEVELOPER"]}
        try:
            user = admin.post("/admin/developers", developer=fields)
            break
        except Refusal as refusal:
            if refusal.code != "DEVELOPER_USERNAME_TAKEN":
                raise
    screen.fact("developer", f"{user['username']}, with the role to launch builds")
    executor = admin.get("/admin/executors")[0]
    project = admin.post(
        "/admin/projects",
        project={
            "name": f"demo-{number}",
            "description": "Made by `headrace demo`",
            "repository": repository.address,
            "branch": repository.branch,
            "spec_file_path": repository.spec,
            "allow_concurrent_execution": True,
            "executor_id": executor["id"],
            "developers_id": [user["id"]],
        },
    )
    made = " (a sample, made just now)" if repository.is_sample else ""
    screen.fact("project", f"{project['name']}, of {repository.address}{made}, spec file {repository.spec}")
    secret = {"name": SECRET, "value": secrets.token_urlsafe(16), "projects_id": [project["id"]]}
    admin.post("/admin/secrets", secret=secret)
    screen.fact("secret", f"{SECRET}, for this project alone; watch how the log shows it")
    return Prepared(user["username"], password, project["id"])


def _tell_result(screen: Screen, build: Mapping[str, Any]) -> None:
    good = build["exit_code"] == 0
    took = datetime.fromisoformat(build["completed_at"]) - datetime.fromisoformat(build["created_at"])
    ending = (
        "succeeded" if good else f"failed with exit code {build['exit_code']}: {build['exit_message'] or 'no message'}"
    )
    screen.say("")
    screen.result(f"Build {build['id']} {ending}, after {took.total_seconds():.1f} s", good=good)
    if build["output"] and not good:
        screen.say(build["output"])


async def _events(settings: Settings, since: datetime, build_id: int) -> list[Happened]:
    """From JetStream, once it has the end of the build, which comes a moment after the answer says so."""
    client = await connected(settings, "demo")
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            events = await happened(client, since)
            ended = any(one.name == "BuildFinished" and one.payload["build_id"] == build_id for one in events)
            if ended or time.monotonic() > deadline:
                return [one for one in events if one.payload.get("build_id", build_id) == build_id]
            await asyncio.sleep(0.1)
    finally:
        await client.close()


def _ways(settings: Settings, url: str, *, stays: bool) -> dict[str, str]:
    command = _command()
    if not stays:
        return {
            "The same again, and the stack stays up": "make demo KEEP=1",
            "A repository of your own": "make demo REPO=/path/or/address BRANCH=main SPEC=/headrace.yaml",
            "A stack of your own, in the foreground until Ctrl-C": f"{command} up",
        }
    data = _short(settings.data)
    password = "..." if settings.admin_password else f"'$(cat {data}/secrets/admin-password)'"
    body = f'''{{"auth": {{"username": "{settings.admin_username}", "password": "{password}"}}}}'''
    return {
        "The API, with every route": f"{url}/api/docs",
        "Log in, to get a token": f"curl -H 'content-type: application/json' -d '{body}' {url}/api/auth/token",
        "What runs": f"{command} status --data {data}",
        "What happens, as it happens": f"{command} events --from start --data {data}",
        "Stop it": f"{command} down --data {data}",
    }


def _command() -> str:
    """As the visitor called it, or as it can be called from here."""
    return _short(Path(sys.argv[0]).absolute()) if sys.argv[0].endswith("headrace") else "headrace"


def _short(path: Path) -> str:
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
