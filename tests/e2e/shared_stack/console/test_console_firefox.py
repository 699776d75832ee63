"""The log viewer in Firefox, over WebDriver BiDi, because Playwright only supports its own build of Firefox."""

import asyncio
import json
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.e2e.shared_stack.console.conftest import Console
from tests.support.external.repositories import create_sample_repository
from tests.support.stacks.running_stack import RunningStack

pytestmark = pytest.mark.nightly

LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
SIGN_IN = """async ([username, password]) => {
  const fields = document.querySelectorAll("input");
  for (const [index, value] of [username, password].entries()) {
    fields[index].value = value;
    fields[index].dispatchEvent(new Event("input", { bubbles: true }));
  }
  document.querySelector("form button").click();
}"""
HAS_LOG = "() => /^[0-9,]+ lines$/.test(document.querySelector('.log-count')?.textContent.trim() ?? '')"
LAST_LINE = """async () => {
  const log = document.querySelector(".log-lines");
  log.scrollTop = log.scrollHeight;
  await new Promise((resolve) => setTimeout(resolve, 1000));
  const line = [...document.querySelectorAll(".log-line")].at(-1);
  return [line.textContent, line.getBoundingClientRect().bottom <= log.getBoundingClientRect().bottom + 1];
}"""
SEARCH = """async (text) => {
  const field = document.querySelector(".log-search input");
  field.value = text;
  field.dispatchEvent(new Event("input", { bubbles: true }));
}"""


class Firefox:
    """One tab of a running Firefox."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._number = 0
        self._tab = ""

    async def open(self, url: str) -> None:
        if not self._tab:
            await self._call("session.new", capabilities={})
            self._tab = (await self._call("browsingContext.getTree"))["contexts"][0]["context"]
        await self._call("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def run(self, function: str, argument: Any = None) -> Any:
        """Call a function in the page. Return its result."""
        expression = f"(async () => JSON.stringify(await ({function})({json.dumps(argument)})))()"
        answer = await self._call(
            "script.evaluate", expression=expression, target={"context": self._tab}, awaitPromise=True
        )
        assert answer["type"] == "success", answer
        value = answer["result"].get("value")
        return json.loads(value) if value else None

    async def wait_for(self, function: str) -> None:
        waiting = f"async () => {{ while (!({function})()) await new Promise(requestAnimationFrame) }}"
        async with asyncio.timeout(60):
            await self.run(waiting)

    async def _call(self, method: str, **parameters: Any) -> Any:
        self._number += 1
        await self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
        while (answer := json.loads(await self._socket.recv())).get("id") != self._number:
            pass
        assert answer["type"] == "success", answer
        return answer["result"]


@asynccontextmanager
async def running_firefox(profile: str) -> AsyncIterator[Firefox]:
    program = shutil.which("firefox-esr") or shutil.which("firefox")
    if program is None:
        pytest.skip("Firefox is not installed; on Debian: apt-get install firefox-esr")
    options = ("--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0")
    process = await asyncio.create_subprocess_exec(program, *options, stderr=asyncio.subprocess.PIPE)
    assert process.stderr
    try:
        found = None
        async with asyncio.timeout(60):
            while not found:
                found = LISTENING.search((await process.stderr.readline()).decode())
        async with connect(f"{found[1]}/session", max_size=None) as socket:
            yield Firefox(socket)
    finally:
        process.terminate()
        await process.wait()


@pytest.fixture
def profile(tmp_path: Path) -> str:
    folder = tmp_path / "profile"
    folder.mkdir()
    return str(folder)


async def test_long_logs_in_firefox(console: Console, stack: RunningStack, tmp_path: Path, profile: str) -> None:
    script = r"seq 1 50000 | sed 's/.*/\x1b[32mPASSED\x1b[0m number_&/'"
    project = stack.create_project(create_sample_repository(tmp_path / "repository", {"build": f"{script}\n"}))
    build = stack.run_build(project)["id"]
    async with running_firefox(profile) as firefox:
        await firefox.open(f"{stack.url}/ui/builds/{build}")
        await firefox.wait_for("() => document.querySelectorAll('input').length === 2")
        await firefox.run(SIGN_IN, ["admin", console.password])
        await firefox.wait_for(HAS_LOG)
        assert await firefox.run("() => CSS.supports('content-visibility', 'auto')")
        assert await firefox.run(LAST_LINE) == ["Job succeeded", True]
        assert await firefox.run("() => window.find('number_25000')")
        await firefox.run(SEARCH, "number_4999")
        await firefox.wait_for("() => / of 11$/.test(document.querySelector('.match-count')?.textContent)")
        assert await firefox.run("() => CSS.highlights.size") == 2
