"""Pull requests in a browser: a project builds pull requests of forks, each after a person has approved it."""

from pathlib import Path

from playwright.async_api import expect

from tests.e2e.shared_stack.console.conftest import Console
from tests.support.external.forge_webhooks import github_headers, github_pull_request_body
from tests.support.external.repositories import create_sample_repository, run_git


async def test_a_pull_request_of_a_fork_is_built_after_its_approval(console: Console, tmp_path: Path) -> None:
    repository = create_sample_repository(tmp_path / "octo" / "mill", {"build": "echo a proposed change"})
    sha = run_git(repository, "rev-parse", "HEAD")
    run_git(repository, "update-ref", "refs/pull/1/head", sha)
    project = console.stack.create_project(repository)
    key = console.stack.get_project(project)["signature_key"]
    async with console.open(f"/projects/{project}/settings") as page:
        form = page.locator("form", has=page.get_by_label("Pull and merge requests"))
        await form.get_by_label("Pull and merge requests").select_option("Build those of forks, too")
        await form.get_by_role("button", name="Save").click()
        await expect(page.get_by_text("Pushes and pull requests settings saved")).to_be_visible()
        body = github_pull_request_body(sha, fork=True)
        with console.stack.create_client() as forge:
            headers = github_headers(key, body, "pull_request")
            answer = forge.post(f"/guest/webhooks/build/{project}", content=body, headers=headers)
        assert answer.status_code < 300, answer.text
        await page.goto(f"webhooks?project={project}")
        await page.get_by_role("button", name="Approve").click()
        await expect(page.get_by_role("dialog")).to_contain_text("They get no secrets")
        await page.get_by_role("dialog").get_by_role("button", name="Build it").click()
        await expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        await expect(page.locator("[data-row]")).to_contain_text("Started a build")
        await page.locator("[data-row]").get_by_role("link", name="Build #").click()
        await expect(page.get_by_role("region", name="Lines of the log")).to_contain_text("a proposed change")
        await expect(page.locator(".page-header .status")).to_have_text("Passed")
        await page.get_by_role("link", name="Delivery").click()
        await expect(page.locator("[data-row]")).to_contain_text("Started a build")
