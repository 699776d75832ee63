"""Every screen in both themes and on a phone: accessible, without errors, and without scrolling sideways."""

import os
from dataclasses import dataclass
from typing import Literal

import pytest
from playwright.async_api import Page, ViewportSize, expect

from infra.web.node import NodeMissing, require_node
from infra.web.packages import WEB, install_packages
from tests.e2e.shared_stack.console.conftest import SCREENSHOTS, Console
from tests.support.stacks.running_stack import RunningStack

AXE = WEB / "node_modules/axe-core/axe.min.js"
ALL_RULES = "['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa']"
COLOR_RULES = "['color-contrast']"  # the results of the other rules do not depend on the theme
SERIOUS = {"serious", "critical"}
PHONE: ViewportSize = {"width": 360, "height": 740}
DESKTOP: ViewportSize = {"width": 1280, "height": 900}


@dataclass(frozen=True)
class Variant:
    """The theme and the size in which screens are shown, and the rules of axe-core that are checked with them."""

    name: str
    scheme: Literal["light", "dark"]
    viewport: ViewportSize
    rules: str


VARIANTS = (
    Variant("light", "light", DESKTOP, ALL_RULES),
    Variant("dark", "dark", DESKTOP, COLOR_RULES),
    Variant("phone", "light", PHONE, ALL_RULES),
)
TABS = 6  # keys pressed on each screen, beginning with its content
FOCUS_CONTENT = """() => {
    window.unclearFocus = [];
    if (!window.watchesFocus) addEventListener("keyup", () => {
        const element = document.activeElement, style = getComputedStyle(element);
        if (element === document.body) return;
        const {left, top, right, bottom} = element.getBoundingClientRect();
        const points = [[(left + right) / 2, (top + bottom) / 2], [left + 3, top + 3], [right - 3, bottom - 3]];
        const area = element.closest("label") ?? element;
        const isSeen = points.some(([x, y]) => area.contains(document.elementFromPoint(x, y)));
        const hasOutline = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
        if (!isSeen || !hasOutline)
            window.unclearFocus.push(`${isSeen ? "no outline" : "hidden"}: ${element.outerHTML.slice(0, 120)}`);
    });
    window.watchesFocus = true;
    if (!document.querySelector("dialog[open]")) document.getElementById("content").focus();
}"""
FOLLOW_LINK = """path => new Promise(rendered => {
    history.pushState(null, "", path)
    dispatchEvent(new PopStateEvent("popstate"))
    requestAnimationFrame(() => requestAnimationFrame(rendered))
})"""


@pytest.fixture(scope="module")
def axe() -> str:
    """Return the script of axe-core. Installs axe-core if it is missing; skips the tests without Node.js."""
    if not AXE.is_file():
        try:
            install_packages(require_node(), for_checks=True)
        except NodeMissing as missing:
            pytest.skip(f"axe-core is not installed: {missing}")
    return AXE.read_text()


def list_screens(project: int, build: int, person: int) -> dict[str, str]:
    return {
        "projects": "/projects",
        "new-project": "/projects?new=true",
        "project": f"/projects/{project}",
        "project-schedules": f"/projects/{project}/schedules",
        "project-settings": f"/projects/{project}/settings",
        "build-graph": f"/builds/{build}",
        "build-timeline": f"/builds/{build}?view=timeline",
        "build-list": f"/builds/{build}?view=list",
        "queue": "/queue",
        "home": "/",
        "runners": "/runners",
        "events": "/events",
        "me": "/me",
        "secrets": "/secrets",
        "credentials": "/credentials",
        "executors": "/executors",
        "people": "/people",
        "person": f"/people/{person}",
        "companies": "/companies",
        "webhooks": "/webhooks",
        "statistics": "/statistics",
        "history": "/history",
        "project-history": f"/history/project/{project}",
        "project-past": f"/history/project/{project}?v=1",
        "system": "/system",
        "settings": "/settings",
        "not-found": "/no/such/page",
    }


async def test_screens_are_accessible_and_fit(
    console: Console, stack: RunningStack, pipeline_build: int, axe: str
) -> None:
    project = stack.get_build(pipeline_build)["project_id"]
    person = stack.admin.get("/admin/developers").raise_for_status().json()[0]["id"]
    findings: list[str] = []
    async with console.open("/queue") as page:
        for screen, path in list_screens(project, pipeline_build, person).items():
            # navigate within the page, because loading the console takes as much CPU time as all checks
            await page.evaluate(FOLLOW_LINK, f"/ui{path}")
            for variant in VARIANTS:
                await page.emulate_media(color_scheme=variant.scheme)
                await page.set_viewport_size(variant.viewport)
                await expect(page.get_by_role("heading", level=1)).to_be_visible()
                await expect(page.locator(".loading")).to_have_count(0)
                if "CONSOLE_SCREENSHOTS" in os.environ:
                    await page.screenshot(path=SCREENSHOTS / f"{screen}-{variant.name}.png", full_page=True)
                width = await page.evaluate("document.documentElement.scrollWidth")
                if width > variant.viewport["width"]:
                    findings.append(f"{screen}, {variant.name}: {width} pixels wide")
                violations = await find_violations(page, axe, variant.rules)
                findings += [f"{screen}, {variant.name}: {violation}" for violation in violations]
            findings += [f"{screen}, keyboard: {element}" for element in await find_unclear_focus(page)]
    assert findings == []


async def test_the_sign_in_form_is_accessible(console: Console, axe: str) -> None:
    async with console.open("/", storage_state=None) as page:
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert await find_violations(page, axe) == []


async def find_unclear_focus(page: Page) -> list[str]:
    """Press Tab in the content of the screen. Return the focused elements that are hidden or have no outline."""
    await page.evaluate(FOCUS_CONTENT)
    for _ in range(TABS):
        await page.keyboard.press("Tab")
    return list(await page.evaluate("window.unclearFocus"))


async def find_violations(page: Page, axe: str, rules: str = ALL_RULES) -> list[str]:
    """Return serious findings of axe-core, each with the affected elements."""
    if not await page.evaluate("'axe' in window"):
        await page.evaluate(axe)
    result = await page.evaluate(f"axe.run(document, {{resultTypes: ['violations'], runOnly: {rules}}})")
    return [
        f"{violation['id']}: {[node['target'] for node in violation['nodes'][:4]]}"
        for violation in result["violations"]
        if violation["impact"] in SERIOUS
    ]
