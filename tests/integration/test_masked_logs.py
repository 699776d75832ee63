"""Secrets in the logs of an agent's jobs: what is hidden, and what the values must not damage."""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path

import pytest

from agent.config import Config
from agent.runner import run
from tests.integration.whole_stage import Whole, whole_stage
from tests.support.repositories import commit, spec_of

SHORT = "The value has fewer than 4 characters, so it is not masked in logs."
SCRIPTS = {
    "one": "echo $LONG; echo $LINES; echo 'line by line'; echo $SHORT\n",
    "two": "echo $MARKER of a river; echo ${#DIGITS} digits\n",
}


@pytest.fixture(scope="module")
async def here(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Whole]:
    async with whole_stage(tmp_path_factory.mktemp("whole"), long_poll_seconds=0.5) as whole:
        yield whole


async def test_values_neither_show_nor_damage_the_sections_of_the_log(here: Whole, tmp_path: Path) -> None:
    commit(here.repository, {f"ci/{name}.sh": text for name, text in SCRIPTS.items()})
    commit(here.repository, {"masked.yaml": spec_of(SCRIPTS)})
    project = await here.project(spec_file_path="/masked.yaml")
    values = {"LONG": "wheel-of-7", "LINES": "multi\nline\nvalue", "SHORT": "1", "MARKER": "section", "DIGITS": "1784"}
    for name, value in values.items():
        secret = {"name": name, "value": value, "projects_id": [project["id"]]}
        made = (await here.post("/api/admin/secrets", {"secret": secret}, 201)).json()
        assert (made["value"], made.get("detail")) == (value, SHORT if name == "SHORT" else None)
    runner = await here.runner()
    builds = str(tmp_path / "builds")
    url = str(here.http.base_url)
    config = Config(
        url=url, token=runner.token, id=1, name="miller", system_id="s", builds_dir=builds, executor="shell"
    )
    build_id = await here.launched(project)
    await run(config, stop=asyncio.Event(), once=True)
    assert (await here.ended(build_id))["exit_code"] == 0
    one = await here.get(f"/api/developer/logs/{build_id}/init")
    two = await here.get(f"/api/developer/logs/{build_id}/one")
    assert (one["step"], two["step"]) == ("one", "two")
    assert one["log"].split("\n")[1:] == ["[MASKED]", "multi line value", "line by line", "1"]
    assert two["log"].split("\n")[1:3] == ["[MASKED] of a river", "4 digits"]
    times = [datetime.fromisoformat(part[name]) for part in (one, two) for name in ("start_at", "closed_at")]
    assert times == sorted(times)
    assert any(at.microsecond for at in times)  # not in whole seconds


async def test_a_changed_value_is_answered_with_a_detail_as_well(here: Whole) -> None:
    made = (await here.post("/api/admin/secrets", {"secret": {"name": "A", "value": "long enough"}}, 201)).json()
    path = f"/api/admin/secrets/{made['id']}"
    for value, detail in (("abc", SHORT), ("abcd", None), ("é" * 3, SHORT)):
        changed = await here.http.patch(f"{path}/value", headers=here.admin, json={"secret": {"value": value}})
        assert (changed.json()["value"], changed.json().get("detail")) == (value, detail)
    assert "detail" not in await here.get(path)
