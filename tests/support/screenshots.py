"""`python -m tests.support.screenshots`: write the pictures of the web console in docs/images.

It starts a stack with some projects and builds, and takes pictures of its pages in Chromium.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, expect, sync_playwright

from tests.support.external.repositories import commit_files, create_sample_repository, run_git
from tests.support.stacks.running_stack import RunningStack, running_stack
from tests.support.waiting import wait_until

IMAGES = Path("docs/images")
MAX_BYTES = 600_000  # maximum total size of the pictures
SIZE: Any = {"width": 1200, "height": 960}
SHOWN_JOBS = {"unit tests": "FAILED", "end to end": "SUCCESS"}
WEBSITE = r"""
stages: [check, build, test, deploy]
lint: {stage: check, script: ["sleep 2", "printf '\\033[32mAll checks passed\\033[0m\\n'"]}
type check: {stage: check, script: ["sleep 3", "echo no errors in 214 files"]}
bundle:
  stage: build
  needs: [lint, type check]
  script: ["sleep 4", "mkdir -p dist", "seq 1 40000 > dist/site.js", "echo dist/site.js  228 kB"]
  artifacts: {paths: [dist]}
unit tests:
  stage: test
  needs: [bundle]
  script:
    - "seq 1 40 | sed 's/.*/\\x1b[32mPASSED\\x1b[0m tests\\/test_cart.py::test_item_&/'"
    - "printf '\\033[31mFAILED\\033[0m tests/test_cart.py::test_total - assert \\033[1m41 == 42\\033[0m\\n'"
    - "exit 1"
end to end: {stage: test, needs: [bundle], script: ["sleep 5", "echo 12 scenarios passed"]}
train model: {stage: test, needs: [type check], tags: [gpu], script: ["echo training"]}
publish: {stage: deploy, when: manual, needs: [bundle], script: ["echo published"]}
"""


def create_life(stack: RunningStack, folder: Path) -> int:
    """Create projects and builds. Return the build whose page is shown."""
    for name in ("shop", "billing", "mobile app"):
        repository = create_sample_repository(folder / name, {"test": "sleep 1; echo 38 passed\n", "pack": "echo ok\n"})
        project = stack.create_project(repository, name=name)
        for _ in range(3):
            stack.run_build(project)
    repository = create_sample_repository(folder / "website")
    commit_files(repository, {".gitlab-ci.yml": WEBSITE})
    run_git(repository, "commit", "--quiet", "--amend", "--message", "Show the total of the cart")
    website = stack.create_project(repository, name="website", spec_file_path="/.gitlab-ci.yml")
    build = stack.build_id_of(stack.launch_build(website))
    wait_until(lambda: shown_jobs(stack, build) == SHOWN_JOBS, 150, "the jobs are not as they should be")
    return build


def shown_jobs(stack: RunningStack, build: int) -> dict[str, str]:
    overview = stack.admin.get(f"/developer/builds/{build}/overview").json()
    return {job["name"]: job["status"] for job in overview["jobs"] if job["name"] in SHOWN_JOBS}


def take_pictures(stack: RunningStack, build: int) -> None:
    program = shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for scheme, pages in {
            "light": {
                "build": f"builds/{build}",
                "timeline": f"builds/{build}?view=timeline",
                "queue": "queue",
            },
            "dark": {"system": "system"},
        }.items():
            options: Any = {"viewport": SIZE, "color_scheme": scheme, "reduced_motion": "reduce"}
            page = browser.new_context(base_url=f"{stack.url}/ui/", **options).new_page()
            sign_in(page, (stack.data / "secrets" / "admin-password").read_text().strip())
            for name, path in pages.items():
                page.goto(path)
                page.get_by_role("heading", level=1).wait_for()
                expect(page.locator(".loading")).to_have_count(0)
                page.wait_for_load_state("load")
                page.wait_for_timeout(1500)  # time for events to arrive and for the layout
                page.screenshot(path=IMAGES / f"console-{name}.png")
        browser.close()


def sign_in(page: Page, password: str) -> None:
    page.goto("")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation", name="Main").wait_for()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, running_stack(Path(folder) / "stack") as stack:
        take_pictures(stack, create_life(stack, Path(folder)))
    size = sum(picture.stat().st_size for picture in IMAGES.glob("console-*.png"))
    if size > MAX_BYTES:
        raise SystemExit(f"The pictures have {size} bytes, more than {MAX_BYTES}.")


if __name__ == "__main__":
    main()
