"""A user signs in, creates a project, launches builds and follows them in a browser."""

import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.e2e.shared_stack.console.conftest import Console
from tests.e2e.shared_stack.console.pipeline import create_reporting_project
from tests.support.external.repositories import Gate, create_sample_repository
from tests.support.stacks.running_stack import RunningStack


async def test_signing_in_shows_the_page_that_was_opened(console: Console) -> None:
    async with console.open("/projects?new=true", storage_state=None) as page:
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.locator("input:invalid")).to_have_count(2)
        await console.sign_in(page, password="wrong")
        await expect(page.get_by_role("alert")).to_be_visible()
        await console.sign_in(page)
        await expect(page.get_by_role("dialog")).to_contain_text("New project")
        await page.keyboard.press("Escape")
        await page.get_by_title("Account").click()
        await page.get_by_label("Dark").focus()
        await page.keyboard.press("Escape")
        await expect(page.get_by_title("Account")).to_be_focused()
        await page.get_by_title("Account").press("Enter")
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        # drop the expected error of the wrong password
        console.problems[:] = [one for one in console.problems if "401" not in one]


async def test_a_new_project_is_built_and_its_log_followed(console: Console, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    script = f"echo before the gate\n{gate.script}echo after the gate\n"
    repository = create_sample_repository(tmp_path / "repository", {"build": script})
    async with console.open("/projects") as page:
        await page.get_by_role("link", name="New project").first.click()
        await page.get_by_label("Repository").fill(str(repository))
        await page.get_by_label("Name", exact=True).fill("console")
        await page.get_by_label("Pipeline file").fill("/headrace.yaml")
        await page.get_by_text("How long to keep").click()
        await page.get_by_label("Days to keep logs").fill("30")
        await page.get_by_role("button", name="Create project").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("console")
        created = console.stack.get_project(int(page.url.rpartition("/")[2]))
        assert (created["keep_log_days"], created["keep_build_days"]) == (30, 0)
        await page.keyboard.press("Shift+T")
        await page.get_by_role("button", name="Launch build").click()
        log = page.get_by_role("region", name="Lines of the log")
        await expect(log).to_contain_text("before the gate")
        await expect(log).not_to_contain_text("after the gate")
        gate.open()
        await expect(log).to_contain_text("after the gate")
        await expect(page.locator(".page-header .status")).to_have_text("Passed")
        assert re.search(r"/ui/builds/\d+$", page.url)


async def test_a_pipeline_shows_its_failure_and_why_a_job_waits(console: Console, pipeline_build: int) -> None:
    async with console.open(f"/builds/{pipeline_build}") as page:
        log = page.get_by_role("region", name="Lines of the log")
        graph = page.get_by_role("region", name="Job graph")
        await expect(graph.get_by_role("link")).to_have_count(5)
        await expect(graph.get_by_role("link", name=re.compile("Failed unit tests"))).to_be_visible()
        await graph.get_by_role("link", name=re.compile("unit tests")).click()
        await expect(log).to_contain_text("<b>FAILED</b> test_cart")
        await expect(page.locator(".job-panel .notice")).to_contain_text("3")
        await graph.get_by_role("link", name=re.compile("train")).click()
        await expect(page.locator(".job-panel .notice")).to_contain_text("gpu")
        await graph.get_by_role("link", name=re.compile("publish")).click()
        await page.get_by_role("button", name="Play").click()
        await expect(log).to_contain_text("published")
        await page.get_by_role("button", name="Timeline").click()
        assert "view=timeline" in page.url
        await page.get_by_role("link", name=re.compile("unit tests")).click()
        await page.get_by_role("button", name="Retry job").click()
        await expect(page.get_by_role("navigation", name="Attempts").get_by_role("link")).to_have_count(2)
        await page.keyboard.press("Shift+A")
        await page.get_by_role("dialog").get_by_role("button", name="Cancel build").click()
        await expect(page.locator(".page-header .status")).to_have_text("Canceled")


async def test_a_password_manager_fills_in_the_form_without_events(console: Console) -> None:
    async with console.open("/queue", storage_state=None) as page:
        for field, value in (("Username", "admin"), ("Password", console.password)):
            await page.get_by_label(field).evaluate("(field, value) => { field.value = value }", value)
        await page.get_by_role("button", name="Sign in").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Queue")


async def test_another_branch_can_be_launched(console: Console, stack: RunningStack, pipeline_build: int) -> None:
    project = stack.get_build(pipeline_build)["project_id"]
    async with console.open(f"/projects/{project}") as page:
        await page.get_by_role("button", name="Launch").click()
        await page.get_by_label("Branch").fill("of-a-colleague")
        await page.get_by_role("button", name="Launch build").click()
        await expect(page.locator(".page-header .status")).to_have_text("Failed")
        await expect(page.locator("main")).to_contain_text("the branch of-a-colleague does not exist")


async def test_a_build_is_launched_with_variables(console: Console, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": 'echo "target is $TARGET"'})
    project = console.stack.create_project(repository)
    async with console.open(f"/projects/{project}", viewport={"width": 360, "height": 740}) as page:
        await page.get_by_role("button", name="Launch").first.click()
        dialog = page.get_by_role("dialog")
        for name, value in (("PATH", "/nowhere"), ("TARGET", "staging")):
            await dialog.get_by_role("button", name="Add variable").click()
            await dialog.get_by_label(re.compile("Name of variable")).last.fill(name)
            await dialog.get_by_label(re.compile("Value of variable")).last.fill(value)
        await expect(dialog).to_contain_text("shown to everybody who sees the build")
        assert await dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
        await dialog.get_by_role("button", name="Launch build").click()
        row = dialog.locator(".variable-row", has=page.get_by_label("Name of variable 1"))
        await expect(row.get_by_role("alert")).to_contain_text("`PATH` is a reserved name.")
        await dialog.get_by_role("button", name="Remove variable 1").click()
        await dialog.get_by_role("button", name="Launch build").click()
        await expect(page.locator(".build-variables")).to_contain_text("TARGETstaging")
        await expect(page.get_by_role("region", name="Lines of the log")).to_contain_text("target is staging")
        # drop the expected error of the reserved name
        console.problems[:] = [problem for problem in console.problems if "422" not in problem]


async def test_a_schedule_is_created_and_run(console: Console, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "repository", {"build": "echo built at night"})
    project = console.stack.create_project(repository)
    async with console.open(f"/projects/{project}/schedules", viewport={"width": 360, "height": 740}) as page:
        await page.get_by_role("button", name="New schedule").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("Description").fill("Nightly")
        await dialog.get_by_label("Cron expression").fill("* * * * *")
        await expect(dialog.get_by_role("status")).to_contain_text("at least five minutes apart")
        await dialog.get_by_label("Cron expression").fill("30 2 * * *")
        await dialog.get_by_label("Time zone").select_option("Asia/Tokyo")
        await expect(dialog.get_by_role("status").get_by_role("listitem")).to_have_count(5)
        assert await dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
        await dialog.get_by_role("button", name="Create").click()
        row = page.locator("[data-row]")
        await expect(row).to_contain_text("30 2 * * * Asia/Tokyo")
        await row.get_by_role("button", name="Pause").click()
        await expect(row).to_contain_text("paused")
        await row.get_by_role("button", name="Run Nightly now").click()
        await row.get_by_role("link", name=re.compile("build")).click()
        await expect(page.locator(".build-facts")).to_contain_text("Nightly")
        await expect(page.get_by_role("region", name="Lines of the log")).to_contain_text("built at night")
        # drop the expected error of the first cron expression
        console.problems[:] = [problem for problem in console.problems if "422" not in problem]


@pytest.mark.usefixtures("pipeline_build")
async def test_the_keyboard_alone_reaches_a_build(console: Console) -> None:
    async with console.open("/projects") as page:
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        await page.keyboard.press("?")
        await expect(page.get_by_role("dialog")).to_contain_text("Next or previous row")
        await page.keyboard.press("Escape")
        await page.keyboard.press("g")
        await page.keyboard.press("q")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Queue")
        await page.keyboard.press("Control+k")
        await page.keyboard.type("pipeline")
        await expect(page.get_by_role("option", name=re.compile("pipeline"))).to_be_visible()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("pipeline")
        await expect(page.locator("[data-row]").first).to_be_visible()
        await page.keyboard.press("j")
        await page.keyboard.press("Enter")
        await page.wait_for_url(re.compile(r"/ui/builds/\d+$"))


async def test_a_build_shows_which_tests_failed_and_why(console: Console, stack: RunningStack, tmp_path: Path) -> None:
    build = stack.run_build(create_reporting_project(stack, tmp_path / "repository"))
    async with console.open(f"/builds/{build['id']}") as page:
        tests = page.get_by_role("region", name="Tests", exact=True)
        await expect(tests.get_by_role("heading")).to_have_text("Tests 3")
        await expect(tests.get_by_role("listitem")).to_have_count(1)
        await tests.get_by_text("shop.test_cart.test_total").click()
        await expect(tests.locator("pre")).to_contain_text("shop/test_cart.py:9: AssertionError")
        await tests.get_by_role("button", name="Skipped 1").click()
        await expect(tests.get_by_role("listitem")).to_contain_text("no network")
        await page.reload()
        await expect(tests.get_by_role("listitem")).to_contain_text("shop.test_tax.test_rate")


async def test_a_flaky_test_is_listed_in_the_statistics_of_its_project(
    console: Console, stack: RunningStack, tmp_path: Path
) -> None:
    flag = tmp_path / "passes"
    project = create_reporting_project(stack, tmp_path / "repository", passes_if_exists=flag)
    stack.run_build(project)
    flag.touch()
    stack.run_build(project)
    async with console.open(f"/statistics?project={project}") as page:
        row = page.get_by_role("table", name="Flaky tests").get_by_role("row", name=re.compile("test_total"))
        await expect(row).to_contain_text("shop.test_cart.test_total")
        # the test passed and failed with the same commit
        await expect(row.get_by_role("cell").nth(5)).to_have_text("yes")
        await expect(page.get_by_role("table", name="Slowest tests")).to_contain_text("test_with_a_name_that_is_longer")
        await row.get_by_role("link").click()
        await expect(page.get_by_role("region", name="Tests", exact=True)).to_contain_text("test_total")
