"""A push breaks a test, its author reads which one, and the next push fixes it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.async_api import expect

from infra.demo.git_server import GitServer
from tests.e2e.shared_stack.console.conftest import Console
from tests.e2e.shared_stack.console.pipeline import REPORT
from tests.support.command_line_home import Home
from tests.support.external.forge_server import TOKEN, ForgeServer, forge_server
from tests.support.external.forge_webhooks import github_headers, github_push_body
from tests.support.external.mail_server import MailServer
from tests.support.external.repositories import commit_files, create_sample_repository, run_git
from tests.support.stacks.running_stack import RunningStack
from tests.support.waiting import eventually

PIPELINE = """
unit tests:
  script: ["if grep '<failure' junit.xml; then exit 3; fi"]
  artifacts: {reports: {junit: junit.xml}}
"""
PASSING_REPORT = (
    '<testsuite name="shop"><testcase classname="shop.test_cart" name="test_total" time="0.01"/></testsuite>'
)
PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Author:
    """A user with a clone of the repository acme/shop, and the forge that receives the statuses of its commits."""

    name: str
    home: Home
    clone: Path
    stack: RunningStack
    forge: ForgeServer

    @property
    def email(self) -> str:
        return f"{self.name}@example.org"

    def last_status(self) -> tuple[str, str] | None:
        """Return the commit and the state of the last status that the forge has received, or None."""
        return next(((status["sha"], status["state"]) for status in reversed(self.forge.statuses)), None)

    def push(self, project: int, key: str, report: str) -> str:
        """Push a commit with a test report, and deliver the forge's webhook of the push. Return the commit."""
        sha = commit_files(self.clone, {".gitlab-ci.yml": PIPELINE, "junit.xml": report})
        run_git(self.clone, "push", "--quiet", "origin", "main")
        body = github_push_body(sha, login=self.name)
        with self.stack.create_client() as sender:
            answer = sender.post(f"/guest/webhooks/build/{project}", content=body, headers=github_headers(key, body))
        assert answer.status_code == 201, answer.text
        return sha


@pytest.fixture
def author(stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Author, str]]:
    """Yield an author, and the URL of the repository."""
    monkeypatch.delenv("HEADRACE_URL", raising=False)
    monkeypatch.delenv("HEADRACE_TOKEN", raising=False)
    name = f"ada-{uuid4().hex[:6]}"
    account = {"username": name, "password": PASSWORD, "email": f"{name}@example.org", "github_username": name}
    stack.create("developer", **account, roles=["ROLE_ADMIN", "ROLE_DEVELOPER"])
    home = Home({"XDG_CONFIG_HOME": str(tmp_path / "home")})
    clone = create_sample_repository(tmp_path / "clone")
    served = tmp_path / "served" / "acme" / "shop.git"
    run_git(tmp_path, "clone", "--quiet", "--bare", str(clone), str(served))
    run_git(clone, "remote", "add", "origin", str(served))
    git_server = GitServer(tmp_path / "served")
    with git_server.run_in_thread(), forge_server("github") as forge:
        yield Author(name, home, clone, stack, forge), f"http://127.0.0.1:{git_server.server_port}/acme/shop.git"
        home.run("logout")


async def test_a_push_breaks_a_test_and_the_next_one_fixes_it(
    console: Console, author: tuple[Author, str], mail_server: MailServer
) -> None:
    ada, repository = author
    home, stack = ada.home, ada.stack
    home.run("login", stack.url, "--username", ada.name, "--password-stdin", text=PASSWORD)
    options = ("--repository", repository, "--branch", "main", "--spec-file", ".gitlab-ci.yml")
    project = home.read("projects", "create", f"shop {ada.name}", *options)
    number = str(project["id"])
    home.run("notifications", "mails", number, "--about", "fixed")
    home.run("secrets", "set", "SHOP_FORGE_TOKEN", "--project", number, text=TOKEN)
    forge = {"kind": "github", "api_url": ada.forge.api_url, "secret": "SHOP_FORGE_TOKEN"}
    stack.admin.put(f"/admin/projects/{number}/forge", json={"forge": forge}).raise_for_status()
    key = stack.get_project(project["id"])["signature_key"]

    broken = ada.push(project["id"], key, REPORT)
    [build] = home.read("builds", "ls", "--project", number)
    failing = str(build["id"])
    assert "failed" in home.run("builds", "watch", failing, exit_code=1).stderr
    assert "test_total" in home.run("builds", "tests", failing).stdout
    async with console.open(f"/builds/{failing}") as page:
        await expect(page.get_by_role("region", name="Tests", exact=True)).to_contain_text("shop.test_cart.test_total")
    await eventually(lambda: ada.last_status() == (broken, "failure"))

    fixed = ada.push(project["id"], key, PASSING_REPORT)
    passing = str(home.read("builds", "ls", "--project", number)[0]["id"])
    assert "succeeded" in home.run("builds", "watch", passing).stderr
    async with console.open(f"/builds/{passing}") as page:
        await expect(page.locator(".page-header .status")).to_have_text("Passed")
    await eventually(lambda: ada.last_status() == (fixed, "success"))
    mails = await eventually(lambda: mail_server.messages_to(ada.email), lambda found: len(found) == 2)
    results = [mail["Subject"].partition(": build ")[2] for mail in mails]
    assert results == [f"{failing} failed", f"{passing} succeeded again"]
