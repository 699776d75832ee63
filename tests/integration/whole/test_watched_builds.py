"""The live log as Free Commit's page polls it: repeatedly, until the first error response."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from pymongo.asynchronous.collection import AsyncCollection

from agent.config import Config
from agent.runner import run
from libs.clock import Clock, now
from libs.documents import Document
from libs.service.connections import create_mongo_client, get_database
from libs.service.declaration import RetryLater
from services.builds.execution import recent_ends
from services.builds.retention import surplus_builds
from tests.support.external.repositories import Gate, commit_files, make_spec
from tests.support.in_process.build_system import Body, BuildSystem, build_system
from tests.support.infrastructure.servers import Servers
from tests.support.waiting import eventually, send_until_answered

POLL_SECONDS = 0.1  # Free Commit's page polls every second
READABLE_SECONDS = 600  # longer than a test takes; a test ends the time when the page has read everything
POLLS_TO_END = 5  # after the end of the last section was read
END_SECONDS = 60  # maximum time until the error response that ends the polling


@dataclass
class SkewedMachine:
    """The clock of the machine on which the services run. A test can set it ahead or back."""

    ahead: timedelta = timedelta()

    def time(self) -> datetime:
        return now() + self.ahead


MACHINE = SkewedMachine()


@dataclass
class LogPage:
    """Free Commit's log page: the text of each section, and the position from which the next poll reads."""

    here: BuildSystem
    executor_id: str
    build_id: int
    poll_count: int = 0
    sections: dict[str, Body] = field(default_factory=dict)
    step: str | int = -1
    line_number: int = 0
    error_response: httpx.Response | None = None

    async def poll(self) -> bool:
        path = f"/api-free-commit/developer/logs/{self.executor_id}/{self.step}/{self.line_number}"
        response = await send_until_answered(lambda: self.here.http.get(path, headers=self.here.admin))
        self.poll_count += 1
        if response.status_code != 200:
            self.error_response = response
            return False
        found = response.json()
        self.step, self.line_number = found["step"], found["line_number"]
        known = self.sections.get(found["step"])
        if known is None:
            self.sections[found["step"]] = found
        else:
            state = {name: found[name] for name in ("closed_at", "success", "skipped")}
            self.sections[found["step"]] = {**known, "log": known["log"] + found["log"], **state}
        return True

    async def watch(self) -> None:
        while await self.poll():  # noqa: ASYNC110  it polls as the page does
            await asyncio.sleep(POLL_SECONDS)

    def text(self, step: str) -> str:
        return str(self.sections.get(step, {}).get("log", ""))


@pytest.fixture(scope="module")
async def system(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[BuildSystem]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recent_ends, "READABLE_SECONDS", READABLE_SECONDS)
        async with build_system(
            servers, tmp_path_factory.mktemp("whole"), Clock(MACHINE.time), long_poll_seconds=0.5
        ) as whole:
            yield whole


@asynccontextmanager
async def watch_build(
    system: BuildSystem, folder: Path, scripts: Mapping[str, str], **settings: Any
) -> AsyncIterator[tuple[LogPage, "asyncio.Task[None]"]]:
    """Run a build of these steps with an agent. From the launch on, a page polls the build's log."""
    commit_files(system.repository, {f"ci/{name}.sh": text for name, text in scripts.items()})
    commit_files(system.repository, {"watched.yaml": make_spec(scripts)})
    project = await system.create_project(spec_file_path="/watched.yaml", **settings)
    runner = await system.register_runner()
    config = Config(
        url=str(system.http.base_url),
        token=runner.token,
        id=1,
        name="miller",
        system_id="s",
        builds_dir=str(folder / "builds"),
        executor="shell",
    )
    stop = asyncio.Event()
    agent = asyncio.create_task(run(config, stop=stop))
    launched = (await system.post(f"/api/developer/builds/{project['id']}")).json()
    page = LogPage(system, launched["executor_id"], launched["build_id"])
    watching = asyncio.create_task(page.watch())
    try:
        yield page, watching
    finally:
        watching.cancel()
        stop.set()
        await agent
        await asyncio.gather(watching, return_exceptions=True)
        await system.http.delete(f"/api/admin/runners/{runner.uuid}", headers=system.admin)


def error_of(page: LogPage) -> tuple[int, str]:
    assert page.error_response is not None
    return page.error_response.status_code, page.error_response.json()["message"]


@asynccontextmanager
async def open_recent_ends(system: BuildSystem) -> AsyncIterator[AsyncCollection[Document]]:
    async with create_mongo_client(system.settings, "test") as client:
        yield get_database(client, system.settings, "builds")[recent_ends.RECENT_ENDS]


async def end_polling(system: BuildSystem, page: LogPage, watching: "asyncio.Task[None]", last: str) -> None:
    """Let the page read the log of the build to the end of its last section. Then end the time to read it."""
    await system.wait_until_ended(page.build_id)
    await eventually(lambda: page.sections.get(last, {}).get("closed_at") or watching.done())
    before = page.poll_count
    await eventually(lambda: page.poll_count >= before + POLLS_TO_END or watching.done())
    assert page.error_response is None
    async with open_recent_ends(system) as ends:
        await ends.update_one({"_id": page.build_id}, [{"$set": {recent_ends.READABLE_UNTIL: "$$NOW"}}])
    await asyncio.wait_for(watching, END_SECONDS)


async def test_a_polling_page_sees_the_end_of_a_build(system: BuildSystem, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    scripts = {
        "one": "echo first\n",
        "middle": f"echo begun\n{gate.script}echo all but done\necho done\n",
        "three": "echo third\n",
        "last": "echo finally\n",
    }
    async with watch_build(system, tmp_path, scripts) as (page, watching):
        await eventually(lambda: "begun" in page.text("middle"))
        gate.open()
        await end_polling(system, page, watching, "last")
    assert list(page.sections) == ["init", *scripts]
    assert page.text("middle").split("\n")[1:] == ["begun", "all but done", "done"]
    assert page.text("three").split("\n")[1:] == ["third"]
    assert page.text("last").split("\n")[1:] == ["finally", "Job succeeded"]
    assert page.sections["last"]["closed_at"]
    assert page.sections["last"]["success"] is True
    assert error_of(page) == (404, "EXECUTOR_NOT_FOUND")


@pytest.mark.parametrize("cleanup", [{}, {"cleanup": "echo swept\n"}], ids=["at once", "with a clean-up"])
async def test_a_polling_page_sees_that_a_build_was_killed(
    system: BuildSystem, tmp_path: Path, cleanup: dict[str, str]
) -> None:
    scripts = {"slow": f"echo begun\n{Gate(tmp_path / 'never').script}", "later": "echo never\n", **cleanup}
    async with watch_build(system, tmp_path, scripts) as (page, watching):
        await eventually(lambda: "begun" in page.text("slow"))
        path = f"/api/developer/builds/kill/executed/{page.executor_id}"
        assert (await system.http.delete(path, headers=system.admin)).status_code == 204
        await end_polling(system, page, watching, "abort")
    assert list(page.sections) == ["init", "slow", *cleanup, "abort"]
    assert ("swept" in page.text("cleanup")) == bool(cleanup)
    assert page.sections["abort"]["closed_at"]
    assert page.sections["abort"]["success"] is False
    assert "Deployment aborted by user" in page.text("abort")
    assert error_of(page) == (404, "EXECUTOR_NOT_FOUND")


async def test_a_polling_page_sees_why_a_build_could_not_be_planned(system: BuildSystem) -> None:
    project = await system.create_project(spec_file_path="/nowhere.yaml")
    launched = (await system.post(f"/api/developer/builds/{project['id']}")).json()
    page = LogPage(system, launched["executor_id"], launched["build_id"])
    await page.poll()
    await system.wait_until_ended(launched["build_id"])
    await page.poll()
    await page.poll()
    assert "There is no file nowhere.yaml in the commit." in page.text("init")
    assert page.sections["init"]["success"] is False
    assert page.error_response is None


async def test_a_build_that_retention_will_delete_can_be_read_to_its_end(
    system: BuildSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(surplus_builds, "RetryLater", lambda _delay: RetryLater(0.5))
    gate = Gate(tmp_path / "gate")
    scripts = {"one": f"echo begun\n{gate.script}echo done\n", "two": "echo second\n"}
    async with watch_build(system, tmp_path, scripts, keep_number_build=0) as (page, watching):
        await eventually(lambda: "begun" in page.text("one"))
        gate.open()
        await end_polling(system, page, watching, "two")
        assert list(page.sections) == ["init", "one", "two"]

        async def is_gone() -> bool:
            path = f"/api/developer/builds/{page.build_id}"
            return (await system.http.get(path, headers=system.admin)).status_code == 404

        await eventually(is_gone)


@pytest.mark.parametrize("hours", [-1, 1])
async def test_the_live_log_stays_readable_by_database_time_despite_clock_skew(
    system: BuildSystem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int
) -> None:
    gate = Gate(tmp_path / "gate")
    async with watch_build(system, tmp_path, {"one": f"echo begun\n{gate.script}"}) as (page, watching):
        await eventually(lambda: "begun" in page.text("one"))
        monkeypatch.setattr(MACHINE, "ahead", timedelta(hours=hours))
        gate.open()
        await system.wait_until_ended(page.build_id)
        monkeypatch.undo()
        async with open_recent_ends(system) as ends:
            left = {"$subtract": [f"${recent_ends.READABLE_UNTIL}", "$$NOW"]}  # milliseconds
            end = await ends.find_one({"_id": page.build_id}, {"left": left})
        assert end
        assert 0 < end["left"] <= READABLE_SECONDS * 1000
        await end_polling(system, page, watching, "one")
    assert page.sections["one"]["success"] is True
