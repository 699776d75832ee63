"""The time in which the console shows long logs. Limits have a wide margin, because the machine may be busy.

Figures are printed and written to `log-figures.jsonl` beside the screenshots. CPU times are measured for the
page's main thread and for the processes of the stack.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from playwright.async_api import Page, Route, expect

from tests.e2e.shared_stack.console.conftest import SCREENSHOTS, Console
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.running_stack import RunningStack

TALL = {"width": 1280, "height": 1800}  # large enough that the log is in the viewport
LINES = 100_000
LONG_LINES = 350_000
COLORED = r"seq 1 {lines} | sed 's/.*/\x1b[32mPASSED\x1b[0m number_&/'"
# targets on an idle machine: shown in 0.5 s, no frame over 250 ms, 50 MB
MAX_SHOWN_SECONDS = 20.0
MAX_FRAME_SECONDS = 5.0
MAX_PAGE_CPU_SECONDS = 5.0
MAX_MEGABYTES = 250.0

WATCH_FRAMES = """() => {
  window.longestFrame = 0;
  let last = performance.now();
  const look = (now) => {
    window.longestFrame = Math.max(window.longestFrame, now - last);
    last = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
BELOW_VIEW = """() => {
  const { scrollHeight, scrollTop, clientHeight } = document.querySelector(".log-lines");
  return scrollHeight - scrollTop - clientHeight;
}"""
OPEN = """async (path) => {
  const start = performance.now(), times = {};
  history.pushState(null, "", path);
  dispatchEvent(new PopStateEvent("popstate"));
  while (!times.complete) {
    await new Promise(requestAnimationFrame);
    const now = performance.now() - start;
    if (!times.shown && document.querySelector(".log-line")) times.shown = now;
    if (/^[\\d,]+ lines$/.test(document.querySelector(".log-count")?.textContent.trim())) times.complete = now;
  }
  return times;
}"""


def is_renderer(process: psutil.Process) -> bool:
    try:
        return "--type=renderer" in process.cmdline()
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return False


def memory_of(process: psutil.Process) -> int:
    """Return the bytes of memory of the process; 0 if it has ended."""
    try:
        return int(process.memory_info().rss)
    except (psutil.NoSuchProcess, psutil.ZombieProcess):
        return 0


class Figures:
    """Measures how CPU times, DOM nodes and memory change from one call of `measure` to the next."""

    def __init__(self, page: Page, stack: RunningStack) -> None:
        self._page = page
        names = ("gateway-0", "builds-0", "mongod", "nats-server")
        self._processes = [psutil.Process(stack.wait_for_pid(name)) for name in names]
        self._renderers = [process for process in psutil.Process().children(recursive=True) if is_renderer(process)]
        self._before: dict[str, float] = {}

    async def start(self) -> None:
        self._session = await self._page.context.new_cdp_session(self._page)
        await self._session.send("Performance.enable", {"timeDomain": "threadTicks"})
        await self.measure()

    async def measure(self) -> dict[str, float]:
        metrics = (await self._session.send("Performance.getMetrics"))["metrics"]
        values = {metric["name"]: metric["value"] for metric in metrics}
        now = {
            "page_cpu_s": values["TaskDuration"],
            "script_cpu_s": values["ScriptDuration"],
            "nodes": values["Nodes"],
            "memory_mb": sum(map(memory_of, self._renderers)) / 1e6,
            "stack_cpu_s": sum(sum(process.cpu_times()[:2]) for process in self._processes),
        }
        used = {name: round(value - self._before.get(name, 0), 3) for name, value in now.items()}
        self._before = now
        return used


def report(what: str, **figures: Any) -> None:
    SCREENSHOTS.mkdir(exist_ok=True)
    line = json.dumps({"what": what, **figures})
    with (SCREENSHOTS / "log-figures.jsonl").open("a") as file:
        file.write(f"{line}\n")
    print(line)  # noqa: T201


async def test_100000_colored_lines_are_followed_and_opened(
    console: Console, stack: RunningStack, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    repository = create_sample_repository(tmp_path / "repo", {"build": f"{gate.script}{COLORED.format(lines=LINES)}\n"})
    build = stack.build_id_of(stack.launch_build(stack.create_project(repository)))
    stack.wait_until_running(build)
    async with console.open(f"/builds/{build}", viewport=TALL) as page:
        figures = Figures(page, stack)
        await expect(page.locator(".log-count")).to_contain_text("live")
        await figures.start()
        await page.evaluate(WATCH_FRAMES)
        started = time.monotonic()
        gate.open()
        await expect(page.locator(".log-count")).to_have_text(re.compile(r"^10\d,\d{3} lines$"), timeout=120_000)
        seconds = time.monotonic() - started
        frame = await page.evaluate("window.longestFrame / 1000")
        report("followed", seconds=round(seconds, 2), longest_frame_s=round(frame, 3), **await figures.measure())
        assert await page.evaluate(BELOW_VIEW) < 40
        assert frame < MAX_FRAME_SECONDS
    async with console.open("/queue", viewport=TALL) as page:
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        figures = Figures(page, stack)
        await figures.start()
        times = await page.evaluate(OPEN, f"/ui/builds/{build}")
        used = await figures.measure()
        report("opened", shown_s=round(times["shown"] / 1000, 3), complete_s=round(times["complete"] / 1000, 3), **used)
        assert await page.evaluate(f"window.find('number_{LINES}')")
        await page.evaluate(
            "getSelection().anchorNode.parentElement.closest('.log-chunk').scrollIntoView({block: 'end'})"
        )
        await expect(page.locator(".log-line", has_text=f"number_{LINES}")).to_be_in_viewport()
        assert times["shown"] / 1000 < MAX_SHOWN_SECONDS
        assert used["page_cpu_s"] < MAX_PAGE_CPU_SECONDS
        assert used["memory_mb"] < MAX_MEGABYTES


@pytest.mark.nightly
async def test_350000_lines_are_usable(console: Console, stack: RunningStack, pipeline_build: int) -> None:
    """The log's responses are generated by the test, because the log is longer than the server's default limit."""

    async def answer(route: Route) -> None:
        query = dict(part.split("=") for part in route.request.url.partition("?")[2].split("&"))
        first, limit = int(query.get("from", 0)), min(int(query["limit"]), 8000)
        texts = [f"\x1b[32mPASSED\x1b[0m {'x' * 60} number_{number}" for number in range(first, first + limit)]
        end = min(first + limit, LONG_LINES)
        step = {"index": 0, "name": "build", "lines": LONG_LINES, "start_at": None, "closed_at": None}
        page = {
            "attempt": 1,
            "finished": True,
            "total": LONG_LINES,
            "sections": [{**step, "success": True, "skipped": None, "timed_out": False}],
            "chunks": [{"section": 0, "from": first, "lines": texts[: end - first], "times": []}],
            "next": {"section": 0, "from": end},
            "more": end < LONG_LINES,
        }
        await route.fulfill(json=page)

    async with console.open("/queue", viewport=TALL) as page:
        await page.route("**/log/lines?*", answer)
        figures = Figures(page, stack)
        await figures.start()
        times = await page.evaluate(OPEN, f"/ui/builds/{pipeline_build}")
        report(
            "350,000 lines",
            **{name: round(value / 1000, 3) for name, value in times.items()},
            **await figures.measure(),
        )
        started = time.monotonic()
        await page.get_by_label("Search in the log").fill(f"number_{LONG_LINES - 1}")
        await expect(page.locator(".log-line", has_text=f"number_{LONG_LINES - 1}")).to_be_attached(timeout=60_000)
        assert await page.evaluate(BELOW_VIEW) < 40
        report("search in 350,000 lines", seconds=round(time.monotonic() - started, 2), **await figures.measure())
