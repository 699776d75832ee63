"""Secrets are masked in job logs, and masking does not damage the section markers."""

import asyncio
from datetime import datetime
from pathlib import Path

from agent.config import Config
from agent.runner import run
from tests.support.external.repositories import commit_files, make_spec
from tests.support.in_process.build_system import BuildSystem

SHORT_VALUE_DETAIL = "The value has fewer than 4 characters, so it is not masked in logs."
SCRIPTS = {
    "one": "echo $LONG; echo $LINES; echo 'line by line'; echo $SHORT\n",
    "two": "echo $MARKER of a river; echo ${#DIGITS} digits\n",
}


async def test_secret_values_are_masked_without_damaging_log_sections(system: BuildSystem, tmp_path: Path) -> None:
    commit_files(system.repository, {f"ci/{name}.sh": text for name, text in SCRIPTS.items()})
    commit_files(system.repository, {"masked.yaml": make_spec(SCRIPTS)})
    project = await system.create_project(spec_file_path="/masked.yaml")
    values = {"LONG": "wheel-of-7", "LINES": "multi\nline\nvalue", "SHORT": "1", "MARKER": "section", "DIGITS": "1784"}
    for name, value in values.items():
        secret = {"name": name, "value": value, "projects_id": [project["id"]]}
        created = (await system.post("/api/admin/secrets", {"secret": secret}, 201)).json()
        assert (created["value"], created.get("detail")) == (value, SHORT_VALUE_DETAIL if name == "SHORT" else None)
    runner = await system.register_runner()
    builds = str(tmp_path / "builds")
    url = str(system.http.base_url)
    config = Config(
        url=url, token=runner.token, id=1, name="miller", system_id="s", builds_dir=builds, executor="shell"
    )
    build_id = await system.launch_build(project)
    await run(config, stop=asyncio.Event(), once=True)
    assert (await system.wait_until_ended(build_id))["exit_code"] == 0
    first = await system.get(f"/api/developer/logs/{build_id}/init")
    second = await system.get(f"/api/developer/logs/{build_id}/one")
    assert (first["step"], second["step"]) == ("one", "two")
    assert first["log"].split("\n")[1:] == ["[MASKED]", "multi line value", "line by line", "1"]
    assert second["log"].split("\n")[1:3] == ["[MASKED] of a river", "4 digits"]
    times = [datetime.fromisoformat(part[name]) for part in (first, second) for name in ("start_at", "closed_at")]
    assert times == sorted(times)
    assert any(at.microsecond for at in times)


async def test_changing_a_secret_to_a_short_value_returns_a_masking_notice(system: BuildSystem) -> None:
    created = (await system.post("/api/admin/secrets", {"secret": {"name": "A", "value": "long enough"}}, 201)).json()
    path = f"/api/admin/secrets/{created['id']}"
    for value, detail in (("abc", SHORT_VALUE_DETAIL), ("abcd", None), ("é" * 3, SHORT_VALUE_DETAIL)):
        changed = await system.http.patch(f"{path}/value", headers=system.admin, json={"secret": {"value": value}})
        assert (changed.json()["value"], changed.json().get("detail")) == (value, detail)
    assert "detail" not in await system.get(path)
