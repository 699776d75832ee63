"""An administrator manages secrets, users and tokens, and views histories, in a browser."""

import asyncio
import re

import httpx
from playwright.async_api import Route, expect

from tests.e2e.shared_stack.console.conftest import Console
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import eventually

MARKUP = "<img src=x onerror=alert(1)>"


async def test_a_secret_is_created_shown_and_its_look_recorded(console: Console) -> None:
    async with console.open("/secrets") as page:
        await page.get_by_role("button", name="New secret").first.click()
        await page.get_by_label("Name", exact=True).fill("CONSOLE_SECRET")
        await page.get_by_label("Value", exact=True).fill(MARKUP)
        await page.get_by_role("button", name="Create").click()
        await page.get_by_role("button", name="CONSOLE_SECRET").click()
        dialog = page.get_by_role("dialog")
        await expect(dialog).not_to_contain_text(MARKUP)
        await dialog.get_by_role("button", name="Show for 30 seconds").click()
        await expect(dialog).to_contain_text(MARKUP)
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("button", name="CONSOLE_SECRET")).to_be_focused()
        await page.get_by_role("row", name=re.compile("CONSOLE_SECRET")).get_by_role("link", name="History").click()
        story = page.get_by_role("region", name="What happened")
        await expect(story.get_by_role("listitem")).to_have_count(2)
        await expect(page.locator("main")).not_to_contain_text(MARKUP)


async def test_a_token_is_shown_once_and_can_be_revoked(console: Console, stack: RunningStack) -> None:
    async with console.open("/me") as page:
        await page.get_by_role("button", name="New token").first.click()
        await page.get_by_label("Name", exact=True).fill("console token")
        await page.get_by_label("Users: read").check()
        await page.get_by_role("button", name="Create token").click()
        dialog = page.get_by_role("dialog")
        value = await dialog.locator("code").first.inner_text()
        authorization = {"Authorization": f"Bearer {value}"}
        async with httpx.AsyncClient(base_url=stack.url) as http:
            assert (await http.get("/api/user/info", headers=authorization)).status_code == 200
            await dialog.get_by_role("button", name="Done").click()
            row = page.get_by_role("row", name=re.compile("console token"))
            await expect(row).to_contain_text("projects: read; builds: read; users: read")
            await expect(page.locator("main")).not_to_contain_text(value)
            await row.get_by_role("button", name="Revoke").click()
            await page.get_by_role("dialog").get_by_role("button", name="Revoke").click()
            await expect(row).to_have_count(0)
            await eventually(  # other replicas apply the change within seconds
                lambda: http.get("/api/user/info", headers=authorization), lambda answer: answer.status_code == 401
            )


async def test_a_user_is_created_and_becomes_an_administrator(console: Console) -> None:
    async with console.open("/people") as page:
        await page.get_by_role("button", name="New user").click()
        await page.get_by_label("Username", exact=True).fill("console-user")
        await page.get_by_label("Password").fill("blue bridges 47 over the canal")
        await page.get_by_role("button", name="Create").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("console-user")
        await page.get_by_label("Administrator").check()
        await page.get_by_role("button", name="Save").click()
        await expect(page.locator(".page-title")).to_contain_text("administrator")


async def test_a_project_is_seen_as_it_was(console: Console, pipeline_build: int, stack: RunningStack) -> None:
    project = stack.get_build(pipeline_build)["project_id"]
    async with console.open(f"/projects/{project}/settings") as page:
        description = page.get_by_label("Description")
        await description.fill(MARKUP)
        await page.get_by_role("button", name="Save").first.click()
        await expect(page.locator(".page-title")).to_contain_text(MARKUP)
        await page.goto(f"history/project/{project}")
        state = page.get_by_role("region", name=re.compile("State at version"))
        await expect(state.get_by_role("row", name=re.compile("^description"))).to_contain_text("changed here")
        await page.get_by_label("Version", exact=True).press("ArrowLeft")
        await expect(page.locator(".past-banner")).to_be_visible()
        assert re.search(r"\?v=\d+$", page.url)
        await expect(state.get_by_role("row", name=re.compile("^description"))).not_to_contain_text(MARKUP)
        await page.get_by_role("button", name="Compare").click()
        await expect(state.get_by_role("row", name=re.compile("^description"))).to_contain_text(MARKUP)
        await page.get_by_role("button", name="Back to now").click()
        await expect(page.locator(".past-banner")).to_have_count(0)


async def test_a_refused_webhook_says_why_and_what_to_do(
    console: Console, pipeline_build: int, stack: RunningStack
) -> None:
    project = stack.get_build(pipeline_build)["project_id"]
    headers = {"X-GitHub-Event": "push", "X-Hub-Signature-256": "sha256=00", "X-GitHub-Delivery": "console"}
    async with httpx.AsyncClient(base_url=stack.url) as http:
        response = await http.post(f"/api/guest/webhooks/build/{project}", headers=headers, json={"ref": "x"})
        assert response.status_code == 401
    async with console.open(f"/webhooks?project={project}&decision=REFUSED") as page:
        row = page.get_by_role("row", name=re.compile("Refused")).first
        await expect(row).to_contain_text("does not match")
        await expect(row).to_contain_text("Copy the secret")


async def test_a_receiver_and_a_mail_rule_are_set(console: Console, pipeline_build: int, stack: RunningStack) -> None:
    project = stack.get_build(pipeline_build)["project_id"]
    async with console.open(f"/projects/{project}/settings", viewport={"width": 360, "height": 740}) as page:
        await page.get_by_role("button", name="New receiver").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_label("URL").fill("http://127.0.0.1:1/hush")
        await dialog.get_by_label("Secret").fill("hush-hush-hush-hush")
        await dialog.get_by_label("A build starts").check()
        assert await dialog.evaluate("element => element.scrollWidth <= element.clientWidth")
        await dialog.get_by_role("button", name="Create").click()
        row = page.locator("[data-row]").filter(has_text="http://127.0.0.1:1")
        await expect(row).to_contain_text("started, failed, fixed")
        await row.get_by_role("button", name="http://127.0.0.1:1").click()
        await page.get_by_role("dialog").get_by_label("Active").uncheck()
        await page.get_by_role("dialog").get_by_role("button", name="Save").click()
        await expect(row).to_contain_text("paused")
        await row.get_by_role("button", name="Delete").click()
        await page.get_by_role("dialog").get_by_role("button", name="Delete").click()
        await expect(row).to_have_count(0)
        mails = page.locator(".section").filter(has_text="Mails to you")
        await mails.get_by_label("Mails about").select_option("fixed")
        released = asyncio.Event()
        await page.route("**/mail-rule", lambda route: continue_after(released, route))
        await mails.get_by_role("button", name="Save").click()
        await mails.get_by_label("Of", exact=True).select_option("all")
        released.set()
        await expect(page.get_by_text("Mails saved")).to_be_visible()
        await expect(mails.get_by_label("Of", exact=True)).to_have_value("all")
        async with page.expect_response("**/mail-rule"):
            await mails.get_by_role("button", name="Save").click()
        await page.reload()
        await expect(mails.get_by_label("Mails about")).to_have_value("fixed")
        await expect(mails.get_by_label("Of", exact=True)).to_have_value("all")


async def continue_after(event: asyncio.Event, route: Route) -> None:
    await event.wait()
    await route.continue_()
