"""The login of a private repository: how it reaches git and the runner, and its masking in logs and errors."""

import base64
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from contracts.builds import (
    AppendTrace,
    Assignment,
    BuildRow,
    ClaimJob,
    ClaimResult,
    GetBuild,
    GetLogSection,
    LogSection,
    QueueBuild,
    ReportJob,
    RunnerDescription,
)
from contracts.messages import CommandReply, Page
from contracts.projects import ChangeRepository, CreateProject, ListExecutors
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import MessageClient
from services.builds.app import service as builds
from services.builds.planning.git_mirror import GitMirrors
from services.builds.planning.git_process import RepositoryUnreachable
from services.identity.app import service as identity
from services.projects.app import service as projects
from services.runners.app import service as runners
from tests.support.external.git_server import GitServer, git_server
from tests.support.external.repositories import SPEC_FILE, create_sample_repository
from tests.support.in_process.service_stage import empty_stage
from tests.support.infrastructure.servers import running_servers
from tests.support.waiting import eventually

PASSWORD = "pass/word+of@ada:77c4"
LOGIN = f"ada:{PASSWORD}"
ROOT = Actor(1, "root", ("ROLE_ADMIN",))
RUNNER = RunnerDescription(runner_id=1, runner_uuid="r-1", name="one")
SERVICES = (identity, projects, builds, runners)


class RedirectingHandler(BaseHTTPRequestHandler):
    """Redirects git to another host name of the same server, as if the repository had moved there."""

    server: Any

    def do_GET(self) -> None:
        self.server.seen.append((self.headers["Host"], self.command, self.headers["Authorization"]))
        own_address, other_address = f"127.0.0.1:{self.server.server_port}", f"localhost:{self.server.server_port}"
        self.send_response(301 if self.headers["Host"] == own_address else 200)
        self.send_header("Location", f"http://{other_address}{self.path}")
        self.send_header("Content-Type", "application/x-git-upload-pack-advertisement")
        self.end_headers()
        self.wfile.write(b"001e# service=git-upload-pack\n0000000eversion 2\n000cls-refs\n0000")

    do_POST = do_GET  # noqa: N815

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


class EchoingHandler(BaseHTTPRequestHandler):
    """Rejects every login and repeats the rejected login in the response."""

    def do_GET(self) -> None:
        if "Authorization" not in self.headers:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        login = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
        body = f"{self.headers['Authorization']} or {login} is not welcome".encode()
        self.send_response(403)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


@contextmanager
def running_server(handler: type[BaseHTTPRequestHandler]) -> Iterator[Any]:
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        server.seen = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    root = tmp_path_factory.mktemp("served")
    create_sample_repository(root / "repository")
    with git_server(root, LOGIN) as server:
        yield server


@pytest.fixture(scope="module")
async def caller(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[MessageClient]:
    folder = tmp_path_factory.mktemp("servers")
    settings = {"admin_username": "root", "admin_password": "millwheel-7", "data": folder / "data"}
    with running_servers(folder) as servers:
        async with empty_stage(servers, **settings) as stage:
            await stage.migrate(*SERVICES)
            async with (
                stage.running(lambda: identity),
                stage.running(lambda: projects),
                stage.running(lambda: runners),
                stage.running(lambda: builds),
                stage.connected() as bus,
            ):
                yield MessageClient(bus)


def repository_url(server: GitServer, password: str = PASSWORD) -> str:
    return server.url("repository", f"ada:{quote(password, safe='')}")


async def create_project(caller: MessageClient, repository: str, *, concurrent: bool = True) -> int:
    (default,) = Page.model_validate_json(await caller.query(ListExecutors())).rows
    command = CreateProject(
        name="Private",
        repository=repository,
        branch="main",
        spec_file_path=f"/{SPEC_FILE}",
        allow_concurrent_execution=concurrent,
        executor_id=default["id"],
    )
    return int(CommandReply.model_validate_json(await caller.send(command, actor=ROOT)).row["id"])


async def launch_build(caller: MessageClient, project_id: int) -> int:
    done = CommandReply.model_validate_json(await caller.send(QueueBuild(project_id=project_id), actor=ROOT))
    return int(done.row["id"])


async def get_build(caller: MessageClient, build_id: int) -> BuildRow:
    return BuildRow.model_validate_json(await caller.query(GetBuild(build_id=build_id)))


async def wait_until_planned(caller: MessageClient, build_id: int) -> BuildRow:
    async def is_known() -> bool:
        found = await get_build(caller, build_id)
        return found.finished or bool(found.job_ids)

    await eventually(is_known)
    return await get_build(caller, build_id)


async def claim_job(caller: MessageClient) -> Assignment:
    taken: list[Assignment] = []

    async def is_claimed() -> bool:
        claim = ClaimResult.model_validate_json(await caller.send(ClaimJob(runner=RUNNER)))
        taken.extend([claim.assignment] if claim.assignment else [])
        return bool(taken)

    await eventually(is_claimed)
    return taken[0]


async def finish_job(caller: MessageClient, job: Assignment, log: str = "") -> str:
    """Send the log, finish the job, and return the log as stored."""
    content = base64.b64encode(log.encode())
    await caller.send(AppendTrace(job_id=job.job_id, token=job.token, offset=0, content=content))
    await caller.send(ReportJob(job_id=job.job_id, token=job.token, state="success"))

    async def is_over() -> bool:
        return (await get_build(caller, job.build_id)).finished

    await eventually(is_over)
    return LogSection.model_validate_json(await caller.query(GetLogSection(build_id=job.build_id, step="-1"))).log


async def test_a_runner_gets_the_repository_login_and_the_log_masks_all_its_encodings(
    caller: MessageClient, server: GitServer
) -> None:
    await launch_build(caller, await create_project(caller, repository_url(server)))
    job = await claim_job(caller)
    assert job.repository_login == LOGIN
    assert job.project.repository == server.url("repository", "").replace("//@", "//")
    forms = [LOGIN, PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(LOGIN.encode()).decode()]
    log = await finish_job(caller, job, "\n".join(forms) + "\nover\n")
    lines = log.splitlines()
    assert [set(line) for line in lines[:3]] == [{"*"}, {"*"}, {"*"}]
    assert lines[3].strip("*") == ""
    assert lines[4] == "over"


async def test_a_login_set_with_a_new_url_is_not_given_to_earlier_builds(
    caller: MessageClient, server: GitServer
) -> None:
    project_id = await create_project(caller, repository_url(server))
    assert (await wait_until_planned(caller, await launch_build(caller, project_id))).job_ids
    other = ChangeRepository(project_id=project_id, repository="https://bob:hush@forge.example/x.git")
    await caller.send(other, actor=ROOT)
    job = await claim_job(caller)
    assert (job.project.project_id, job.repository_login) == (project_id, None)
    await finish_job(caller, job)


async def test_a_wrong_repository_login_fails_the_build_without_revealing_it(
    caller: MessageClient, server: GitServer
) -> None:
    project_id = await create_project(caller, repository_url(server, "wrong-word-of-ada"))
    ended = await wait_until_planned(caller, await launch_build(caller, project_id))
    assert (ended.exit_code, ended.exit_message) == (128, "The repository could not be read")
    assert "wrong-word" not in ended.model_dump_json()


async def test_a_login_repeated_by_the_git_server_is_masked_in_the_error(tmp_path: Path) -> None:
    with running_server(EchoingHandler) as server:
        url = f"http://ada:{quote(PASSWORD, safe='')}@127.0.0.1:{server.server_port}/x.git"
        with pytest.raises(RepositoryUnreachable) as refused:
            await GitMirrors(tmp_path).resolve(url, "main")
    message = str(refused.value)
    assert "* is not welcome" in message
    assert PASSWORD not in message
    assert base64.b64encode(LOGIN.encode()).decode() not in message


async def test_a_login_is_not_sent_to_a_redirect_target_on_another_host(tmp_path: Path) -> None:
    with running_server(RedirectingHandler) as elsewhere:
        url = f"http://ada:{quote(PASSWORD, safe='')}@127.0.0.1:{elsewhere.server_port}/x.git"
        with pytest.raises(RepositoryUnreachable):
            await GitMirrors(tmp_path).resolve(url, "main")
    assert {host for host, _, _ in elsewhere.seen} == {f"127.0.0.1:{elsewhere.server_port}"}
