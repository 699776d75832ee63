"""Fixtures for tests of the console: one browser, signed in once. An unexpected error in a page fails the test."""

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect
from playwright.async_api import Error as PlaywrightError

from gateway.http.console import BUILT_CONSOLE
from tests.e2e.shared_stack.console.pipeline import create_pipeline_project
from tests.support.stacks.running_stack import RunningStack

SCREENSHOTS = Path(os.environ.get("CONSOLE_SCREENSHOTS", ".screenshots"))
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
TIMEOUT_MS = 30_000


@dataclass
class Console:
    """The console of a stack in a browser."""

    browser: Browser
    stack: RunningStack
    session: Any = None  # cookies and local storage after signing in
    problems: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def open(self, path: str = "/", **options: Any) -> AsyncIterator[Page]:
        """Open a path in a new window, signed in unless another `storage_state` is given.

        An error or warning in the browser's console, such as a violation of the content security policy, fails the
        test, unless the test removes it from `problems`.
        """
        context = await self.browser.new_context(
            **{"base_url": f"{self.stack.url}/ui/", "storage_state": self.session, "reduced_motion": "reduce"} | options
        )
        context.set_default_timeout(TIMEOUT_MS)
        self.problems.clear()
        try:
            page = await self._open_page(context, path)
            try:
                yield page
            except BaseException:
                with suppress(PlaywrightError):
                    await page.screenshot(path=SCREENSHOTS / "failure.png")
                raise
            assert self.problems == []
        finally:
            await context.close()

    async def _open_page(self, context: BrowserContext, path: str) -> Page:
        page = await context.new_page()
        page.on("pageerror", lambda error: self.problems.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._on_message(page, message))
        await page.goto(path.removeprefix("/"))
        return page

    def _on_message(self, page: Page, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.problems.append(f"{page.url}: {message.text}")

    @property
    def password(self) -> str:
        return (self.stack.data / "secrets" / "admin-password").read_text().strip()

    async def sign_in(self, page: Page, password: str = "") -> None:
        await page.get_by_label("Username").fill("admin")
        await page.get_by_label("Password").fill(password or self.password)
        await page.get_by_role("button", name="Sign in").click()


@pytest.fixture(scope="package")
async def console(stack: RunningStack) -> AsyncIterator[Console]:
    program = next(filter(None, map(shutil.which, CHROMIUM_NAMES)), None)
    if program is None:
        pytest.skip("Chromium is not installed; .ci/run installs it")
    if not (BUILT_CONSOLE / "index.html").is_file():
        pytest.skip("the web console is not built; make setup builds it")
    expect.set_options(timeout=TIMEOUT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        console = Console(browser, stack)
        async with console.open() as page:
            await console.sign_in(page)
            await page.get_by_role("navigation", name="Main").wait_for()
            console.session = await page.context.storage_state()
        yield console
        await browser.close()


@pytest.fixture(scope="package")
def pipeline_build(stack: RunningStack, tmp_path_factory: pytest.TempPathFactory) -> int:
    """Launch a pipeline with a failing job, a manual job, and a job that no runner fits. Return the build's id."""
    project = create_pipeline_project(stack, tmp_path_factory.mktemp("pipeline") / "repository")
    return stack.build_id_of(stack.launch_build(project))
