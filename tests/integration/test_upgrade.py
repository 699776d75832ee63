"""Today's code on the databases that earlier releases left: it answers what they answered, and goes on working."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from agent.config import Config
from agent.runner import run
from infra.migrate import all_services
from libs.connections import database_of, mongo
from tests.golden import dump
from tests.golden.life import PASSWORD, SECRET, SPEC, Left
from tests.golden.record import FOLDER, FOR_EVER
from tests.integration.gateway_stage import serving
from tests.integration.stage import Stage, empty_stage
from tests.integration.whole import itself
from tests.support import event_ids, eventually
from tests.support.repositories import sample_repository
from tests.support.servers import Servers, servers_in

RELEASES = sorted(folder.name for folder in FOLDER.iterdir() if (folder / "answers.json").exists())
Json = dict[str, Any]
CORRECTED = re.compile(
    r"\.status: 'FAILED' became 'WARNING'$"
)  # GitFlic's status of a failure that the pipeline allows


@dataclass(frozen=True)
class Upgraded:
    release: str
    stage: Stage
    http: httpx.AsyncClient
    answers: Json
    left: Left

    async def log_in(self, username: str) -> Json:
        answer = await self.http.post("/api/auth/token", json={"auth": {"username": username, "password": PASSWORD}})
        assert answer.status_code == 200, answer.text
        return {"Authorization": f"Bearer {answer.json()['access_token']}"}


def lacking(before: Any, now: Any, place: str = "") -> Iterator[str]:
    """What of an earlier answer is missing or different; more than was there before is no harm."""
    match before, now:
        case dict(), dict():
            for name in before:
                yield from lacking(before[name], now.get(name), f"{place}.{name}")
        case list(), list() if len(before) == len(now):
            for number, (one, other) in enumerate(zip(before, now, strict=True)):
                yield from lacking(one, other, f"{place}[{number}]")
        case _ if before != now:
            yield f"{place}: {before!r} became {now!r}"


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    with servers_in(tmp_path_factory.mktemp("servers")) as servers:
        yield servers


@asynccontextmanager
async def upgraded(servers: Servers, release: str, folder: Path) -> AsyncIterator[Upgraded]:
    kept = json.loads((FOLDER / release / "answers.json").read_text())
    more = {
        "data": folder,
        "url": "http://ci.example",
        "long_poll_seconds": 1.0,
        "local_repositories": True,
        "runner_offline_seconds": FOR_EVER,
    }
    async with empty_stage(servers, **more) as stage, AsyncExitStack() as stack:
        async with mongo(stage.settings, "test") as client:
            await dump.restore(FOLDER / release / "databases.bson.gz", client, stage.settings)
        services = all_services()
        await stage.migrate(*services)
        for service in services:
            await stack.enter_async_context(stage.running(partial(itself, service)))
        _, _, url = await stack.enter_async_context(serving(replace(stage.settings, instance="gateway")))
        http = await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20))
        yield Upgraded(release, stage, http, kept["answers"], Left(**kept["left"]))


@pytest.fixture(scope="module", params=RELEASES)
async def here(
    request: pytest.FixtureRequest, servers: Servers, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Upgraded]:
    async with upgraded(servers, request.param, tmp_path_factory.mktemp("data")) as here:
        yield here


async def test_every_answer_is_what_it_was(here: Upgraded) -> None:
    admin = await here.log_in("root")
    missing = []
    for path, before in here.answers.items():
        answer = await here.http.get(path, headers=admin)
        now = answer.json() if answer.status_code == 200 else {"status": answer.status_code, **answer.json()}
        fleeting = {"timestamp", "trace_id"} if answer.status_code != 200 else set()
        told = {name: value for name, value in before.items() if name not in fleeting} if fleeting else before
        missing += [f"{path}{one}" for one in lacking(told, now) if not CORRECTED.search(one)]
    assert missing == []


async def test_people_and_their_tokens_come_in_as_before(here: Upgraded) -> None:
    await here.log_in("ada")
    statuses = [
        (await here.http.get("/api/developer/projects", headers={"Authorization": f"Bearer {token}"})).status_code
        for token in here.left.tokens.values()
    ]
    assert statuses == [200, 401]  # the second one was revoked


async def test_the_whole_log_is_published(here: Upgraded) -> None:
    async with mongo(here.stage.settings, "test") as client, here.stage.connected() as bus:
        for service in all_services():
            commits = database_of(client, here.stage.settings, service.name)["commits"]
            recorded = {
                f"{one['stream']}@{one['version']}.{place}"
                async for one in commits.find({})
                for place in range(len(one["events"]))
            }

            async def published(name: str = service.name, wanted: set[str] = recorded) -> bool:
                return wanted <= set(await event_ids(bus, name))

            await eventually(published, within=20)


async def test_a_job_that_was_running_goes_on_and_ends(here: Upgraded) -> None:
    job, text = here.left.running, f"the other half with {SECRET}\n".encode()
    headers = {"JOB-TOKEN": job["token"], "Content-Range": f"{job['length']}-{job['length'] + len(text) - 1}"}
    answer = await here.http.patch(f"/api/v4/jobs/{job['id']}/trace", content=text, headers=headers)
    assert answer.status_code == 202, answer.text
    end = {"token": job["token"], "state": "success"}
    assert (await here.http.put(f"/api/v4/jobs/{job['id']}", json=end)).status_code == 200
    admin, (running,) = await here.log_in("root"), here.answers["/api/developer/builds/executeds"]

    async def over() -> bool:
        shown = await here.http.get(f"/api/developer/builds/{running['build_id']}", headers=admin)
        return bool(shown.json()["completed_at"])

    await eventually(over)
    log = (await here.http.get(f"/api/developer/logs/{running['build_id']}/-1", headers=admin)).json()["log"]
    assert log == f"half of the log\nthe other half with {'*' * len(SECRET)}"


async def test_old_and_new_builds_of_an_old_project_run_on_its_old_runner(here: Upgraded, tmp_path: Path) -> None:
    """The repository of the recording is gone: what was queued fails in words, what is launched now succeeds."""
    admin, project = await here.log_in("root"), here.left.project
    scripts = {"build": "echo turning with $MILL_KEY\n", "test": "exit 0\n", "cleanup": "exit 0\n"}
    repository = {"repository": str(sample_repository(tmp_path / "repository", scripts, SPEC))}
    changed = await here.http.patch(
        f"/api/admin/projects/{project}/repository", headers=admin, json={"project": repository}
    )
    assert changed.status_code == 200, changed.text
    launched = await here.http.post(f"/api/developer/builds/{project}", headers=admin)
    builds = [here.left.queued, launched.json()["build_id"]]
    url, token = str(here.http.base_url), here.left.runners["miller"]
    config = Config(url=url, token=token, id=1, name="miller", system_id="s", builds_dir=str(tmp_path / "builds"))

    async def over() -> bool:
        await run(config, stop=asyncio.Event(), once=True)
        shown = [(await here.http.get(f"/api/developer/builds/{one}", headers=admin)).json() for one in builds]
        return all(one["completed_at"] for one in shown)

    await eventually(over, within=60)
    codes = [(await here.http.get(f"/api/developer/builds/{one}", headers=admin)).json()["exit_code"] for one in builds]
    log = (await here.http.get(f"/api/developer/logs/{builds[1]}/init", headers=admin)).json()["log"]
    assert (codes[0] != 0, codes[1], "turning with [MASKED]" in log) == (True, 0, True)
