"""All services and a gateway in this process. Tests act as an administrator and as fake runners, over HTTP."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import httpx

from gateway.app import Gateway
from libs.clock import Clock
from libs.settings import Settings
from tests.support.external.repositories import SPEC_FILE, create_sample_repository
from tests.support.in_process.running_system import run_all_services
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually, post_until_answered, send_until_answered

PASSWORD = "millwheel-7"
Body = dict[str, Any]


@dataclass
class BuildSystem:
    http: httpx.AsyncClient
    gateway: Gateway
    repository: Path
    settings: Settings
    events_url: str  # NATS URL with the login of external consumers
    executor_id: int = 0
    admin: dict[str, str] = field(default_factory=dict)
    numbers: "count[int]" = field(default_factory=lambda: count(1))

    async def log_in(self, username: str) -> dict[str, str]:
        response = await self.http.post("/api/auth/token", json={"auth": {"username": username, "password": PASSWORD}})
        return {"Authorization": f"token {response.json()['access_token']}"}

    async def get(self, path: str, **more: Any) -> Any:
        response = await send_until_answered(lambda: self.http.get(path, headers=self.admin, **more))
        assert response.status_code == 200, response.text
        return response.json()

    async def post(self, path: str, body: Body | None = None, status: int = 200) -> httpx.Response:
        response = await post_until_answered(self.http, path, body or {}, self.admin)
        assert response.status_code == status, response.text
        return response

    async def create_user(self, username: str, *roles: str) -> int:
        body = {"developer": {"username": username, "password": PASSWORD, "roles": roles or ("ROLE_DEVELOPER",)}}
        return int((await self.post("/api/admin/developers", body, 201)).json()["id"])

    async def create_company(self, *members_id: int, **more: Any) -> Body:
        body = {"company": {"title": f"Works {next(self.numbers)}", "members_id": members_id, **more}}
        return dict((await self.post("/api/admin/companies", body, 201)).json())

    async def create_project(self, owner_alias: str = "root", **more: Any) -> Body:
        body = {
            "name": f"Project {next(self.numbers)}",
            "repository": str(self.repository),
            "branch": "main",
            "spec_file_path": f"/{SPEC_FILE}",
            "allow_concurrent_execution": True,
            "executor_id": self.executor_id,
            "owner_alias": owner_alias,
            **more,
        }
        return dict((await self.post("/api/admin/projects", {"project": body}, 201)).json())

    async def register_runner(self, base: str = "/admin/runners", **settings: Any) -> "FakeRunner":
        """Register a runner in the scope whose runners are listed at `base`."""
        info = await self.get(f"{base}/registration-info")
        body = {"token": info["registrationToken"], "name": f"runner {next(self.numbers)}", **settings}
        response = await self.http.post("/api/v4/runners", json=body)
        assert response.status_code == 201, response.text
        listed = (await self.get(base, params={"size": 1000}))["_embedded"]["restPipelineRunnerModelList"]
        (uuid,) = [listed_runner["id"] for listed_runner in listed if listed_runner["name"] == body["name"]]
        return FakeRunner(self.http, response.json()["token"], uuid)

    async def hold_requests(self, *runners: "FakeRunner") -> "list[asyncio.Task[httpx.Response]]":
        """Request a job for each runner, and wait until the gateway holds all requests."""
        requests = [runner.start_request() for runner in runners]
        await eventually(lambda: len(self.gateway.state.long_polls) == len(runners))
        return requests

    async def launch_build(self, project: Body) -> int:
        return int((await self.post(f"/api/developer/builds/{project['id']}")).json()["build_id"])

    async def get_build(self, build_id: int) -> Body:
        return dict(await self.get(f"/api/developer/builds/{build_id}"))

    async def wait_until_ended(self, build_id: int) -> Body:
        async def is_over() -> bool:
            return (await self.get_build(build_id))["exit_code"] is not None

        await eventually(is_over)
        return await self.get_build(build_id)


@dataclass(frozen=True)
class FakeRunner:
    http: httpx.AsyncClient
    token: str
    uuid: str
    features: Mapping[str, bool] = field(default_factory=dict)  # announced in each job request

    async def request_job(self) -> httpx.Response:
        """Request a job. The response is a job (201), or 204 after the long poll timeout."""
        announced = {"info": {"features": dict(self.features)}} if self.features else {}
        return await self.http.post("/api/v4/jobs/request", json={"token": self.token, **announced})

    def start_request(self) -> "asyncio.Task[httpx.Response]":
        return asyncio.create_task(self.request_job())

    async def wait_for_job(self) -> Body:
        async def is_taken() -> bool:
            answers.append(await self.request_job())
            return answers[-1].status_code == 201

        answers: list[httpx.Response] = []
        await eventually(is_taken)
        return dict(answers[-1].json())

    async def report(self, job: Body, state: str, **more: Any) -> httpx.Response:
        body = {"token": job["token"], "state": state, **more}
        return await self.http.put(f"/api/v4/jobs/{job['id']}", json=body)


@asynccontextmanager
async def build_system(
    servers: Servers,
    folder: Path,
    clock: Clock | None = None,
    /,
    *,
    long_poll_seconds: float = 20.0,
    max_interval: float | None = None,
    **more: Any,
) -> AsyncIterator[BuildSystem]:
    """Run all services and a gateway on servers that no other test uses at the time.

    `clock`: the clock of the services. `max_interval`: maximum seconds between runs of a periodic task.
    """
    settings: Body = {
        "admin_username": "root",
        "admin_password": PASSWORD,
        "data": folder / "data",
        "url": "http://ci.example",
        "long_poll_seconds": long_poll_seconds,
        "local_repositories": True,
        "job_lease_seconds": 600.0,  # longer than the tests that share a system: no runner gets a job of another test
        **more,
    }
    async with (
        run_all_services(servers, clock, max_interval=max_interval, **settings) as (stage, gateway, url),
        httpx.AsyncClient(base_url=url, timeout=60) as http,
    ):
        whole = BuildSystem(
            http,
            gateway,
            create_sample_repository(folder / "repository"),
            stage.settings,
            servers.nats_url_for("consumer"),
        )
        whole.admin = await whole.log_in("root")
        (executor,) = await whole.get("/api/admin/executors")
        whole.executor_id = executor["id"]
        yield whole
