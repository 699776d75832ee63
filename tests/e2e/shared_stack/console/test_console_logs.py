"""The log viewer: reading, searching, links to lines, and loss of the connection."""

import re

from playwright.async_api import Page, expect

from tests.e2e.shared_stack.console.conftest import Console
from tests.support.stacks.running_stack import JsonObject, RunningStack
from tests.support.waiting import wait_until

GATEWAYS = 2
FAILED_LINE = re.compile(r"^<b>FAILED</b> test_cart$")
FAILED_TEXT = "<b>FAILED</b> test_cart"


def get_failed_job(stack: RunningStack, build: int) -> JsonObject:
    """Wait until the first attempt of the failing job has ended, and return the job.

    Its build may have been canceled since.
    """

    def find_job() -> JsonObject | None:
        jobs = stack.admin.get(f"/developer/builds/{build}/overview").raise_for_status().json()["jobs"]
        failing = next((job for job in jobs if job["name"] == "unit tests"), None)
        is_complete = failing and any(attempt["completed_at"] for attempt in failing["attempts"][:1])
        return failing if is_complete else None

    job = wait_until(find_job, within=60)
    assert job is not None
    return job


async def is_in_view(page: Page, text: re.Pattern[str]) -> bool:
    """Return whether a line is in the visible part of the log."""
    line = page.locator(".log-line", has_text=text)
    return bool(
        await line.evaluate(
            """(line) => {
              const frame = line.closest(".log-lines").getBoundingClientRect();
              const { top, bottom } = line.getBoundingClientRect();
              return top >= frame.top && bottom <= frame.bottom;
            }"""
        )
    )


PRESS_N_TWICE = """async () => {
    for (let presses = 0; presses < 2; presses++) {
        document.dispatchEvent(new KeyboardEvent("keydown", { key: "n" }));
        await new Promise(queueMicrotask);  // the page renders, but the browser does not paint yet
    }
}"""


async def test_lines_of_a_log_are_linked_copied_and_searched(
    console: Console, stack: RunningStack, pipeline_build: int
) -> None:
    job = get_failed_job(stack, pipeline_build)
    path = f"/builds/{pipeline_build}?job={job['id']}&attempt=1"
    async with console.open(path, permissions=["clipboard-read", "clipboard-write"]) as page:
        log = page.get_by_role("region", name="Lines of the log")
        await expect(log).to_contain_text(FAILED_TEXT)
        assert await is_in_view(page, FAILED_LINE)  # the log opens at the failure

        first = page.locator(".log-line", has_text=re.compile(r"^41$"))
        await first.click(position={"x": 20, "y": 10})
        await page.locator(".log-line", has_text=re.compile(r"^43$")).click(
            position={"x": 20, "y": 10}, modifiers=["Shift"]
        )
        assert re.search(rf"#job-{job['id']}-L(\d+)-L(\d+)$", page.url)
        await page.get_by_role("button", name="Copy the selected lines").click()
        assert await page.evaluate("navigator.clipboard.readText()") == "41\n42\n43"
        await page.reload()
        await expect(page.locator(".log-line.marked")).to_have_text(["41", "42", "43"])

        await page.get_by_role("heading", level=2, name="unit tests").click()
        await page.keyboard.press("/")
        await page.keyboard.type("5")
        matches = page.locator(".match-count")
        await expect(matches).to_have_text(re.compile(r"^\d+ of \d+$"))
        await page.keyboard.press("Enter")
        await page.keyboard.press("Escape")
        await page.get_by_label("Search in the log").fill("test_cart")
        await expect(matches).to_have_text("1 of 2")
        await page.get_by_label("Search in the log").fill("4")
        await expect(matches).to_have_text(re.compile(r" of 1\d$"))
        before = await matches.text_content()
        await log.focus()
        await page.keyboard.press("n")
        await expect(matches).not_to_have_text(before or "")
        await page.keyboard.press("N")
        await expect(matches).to_have_text(before or "")
        place, count = map(int, (before or "").split(" of "))
        await page.evaluate(PRESS_N_TWICE)
        await expect(matches).to_have_text(f"{(place + 1) % count + 1} of {count}")


async def test_a_log_is_shown_in_several_ways(console: Console, stack: RunningStack, pipeline_build: int) -> None:
    job = get_failed_job(stack, pipeline_build)
    async with console.open(f"/builds/{pipeline_build}?job={job['id']}&attempt=1") as page:
        log = page.get_by_role("region", name="Lines of the log")
        await expect(log).to_contain_text(FAILED_TEXT)
        line = page.locator(".log-line", has_text=FAILED_LINE)
        await page.get_by_role("button", name="Wrap long lines").click()
        assert await line.evaluate("(line) => getComputedStyle(line).whiteSpace") == "pre"
        await page.get_by_role("button", name="Show when lines arrived").click()
        await expect(line).to_have_attribute("data-time", re.compile(r"\d+:\d\d"))
        section = page.locator(".log-section", has=line)
        await section.locator("summary").click()
        await expect(line).to_be_hidden()
        await section.locator("summary").click()
        await expect(line).to_be_visible()
        async with page.expect_download() as download:
            await page.get_by_role("link", name="Download the log").click()
        assert FAILED_TEXT in (await (await download.value).path()).read_text()
        raw = await page.request.get(await page.get_by_role("link", name="Raw").get_attribute("href") or "")
        assert FAILED_TEXT in await raw.text()


async def test_a_lost_connection_is_shown_and_heals(console: Console, stack: RunningStack) -> None:
    async with console.open("/queue") as page:
        live = page.locator(".live-dot")
        await expect(live).to_have_text("Live")
        await page.context.set_offline(True)
        # either gateway may serve the page's connection, which set_offline does not close
        for number in range(GATEWAYS):
            stack.stop_process(f"gateway-{number}")
        await expect(live).to_have_text(re.compile("Offline"))
        stack.wait_until_ready()
        await page.context.set_offline(False)
        await expect(live).to_have_text("Live")
        # drop the expected errors of lost requests
        console.problems[:] = [problem for problem in console.problems if "ERR_" not in problem]


async def test_a_build_is_shown_as_it_was(console: Console, pipeline_build: int) -> None:
    async with console.open(f"/builds/{pipeline_build}?view=timeline") as page:
        await expect(page.get_by_role("list", name=re.compile("^Steps of "))).to_be_visible()
        time = page.get_by_label("Time travel")
        await time.focus()
        await page.keyboard.press("Home")
        await expect(page.get_by_role("status").filter(has_text="You look at")).to_be_visible()
        await expect(page.locator(".page-header .status")).to_have_text("Waiting")
        await expect(page.get_by_role("button", name="Retry")).to_have_count(0)
        assert "at=" in page.url
        await page.get_by_role("button", name="Back to now").click()
        await expect(page.locator(".page-header .status")).not_to_have_text("Waiting")


async def test_runners_show_when_they_were_online(console: Console) -> None:
    async with console.open("/runners") as page:
        card = page.locator(".runner-card").first
        await card.get_by_text("Last 7 days").click()
        await expect(card.locator(".presence-legend")).to_contain_text(re.compile(r"Online \d"))
