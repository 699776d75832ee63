"""`python -m tests.golden.record 0.1.0`: lives a life on this code, and keeps its databases and its answers.

Run once for each release, at its commit; tests/integration/test_upgrade.py then starts later code on what was kept.
"""

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from libs.connections import mongo
from tests.golden.dump import write_dump
from tests.golden.life import live
from tests.integration.whole_stage import Whole, whole_stage

FOLDER = Path(__file__).parent
FOR_EVER = 10**9  # seconds: nothing shall time out because a release is old
LISTS = (
    *(f"/api/admin/{name}" for name in ("companies", "credentials", "executors", "projects", "secrets", "developers")),
    *(f"/api/developer/paginations/{name}?page=1&per_page=100" for name in ("developer", "project", "secret")),
    "/api/developer/builds/queueds",
    "/api/developer/builds/executeds",
    "/api/developer/statistics/sum/duration?page=1&per_page=100",
    "/api/admin/user?size=100",
    "/api/admin/user/ada/key?size=100",
    "/api/admin/runners?size=100",
    "/api/admin/runners/all/jobs?size=1000",
    "/api/admin/runners/registration-info",
    "/api/company/mill/runners/registration-info",
)
REVEALED = ("secrets", "credentials")  # each look at one is recorded: the look of today comes on top
DELETED = {"user": 4, "company": 2, "project": 3, "secret": 3}


def kinds(answers: dict[str, Any]) -> Iterator[str]:
    """The addresses of single things that the lists name."""
    for name in ("companies", "executors", "projects", "developers", *REVEALED):
        for one in answers[f"/api/admin/{name}"]:
            yield f"/api/admin/{name}/{one['id']}"
    for one in answers["/api/admin/developers"]:
        yield f"/api/admin/developers/{one['id']}/tokens"
        yield f"/api/admin/history/user/{one['id']}?limit=1000"
    for one in answers["/api/admin/projects"]:
        yield f"/api/admin/projects/{one['id']}/deliveries?page=1&per_page=100"
        yield f"/api/admin/history/project/{one['id']}?limit=1000"
        yield f"/api/developer/builds/by/project/{one['id']}"
    for one in answers["/api/admin/runners?size=100"]["_embedded"]["restPipelineRunnerModelList"]:
        yield f"/api/admin/runners/{one['id']}"
        yield f"/api/admin/runners/{one['id']}/jobs?size=1000"
    for kind, number in DELETED.items():
        yield f"/api/admin/history/{kind}/{number}?limit=1000"


async def ask(here: Whole, path: str) -> Any:
    answer = await here.http.get(path, headers=here.admin)
    return answer.json() if answer.status_code == 200 else {"status": answer.status_code, **answer.json()}


async def builds(here: Whole, project_ids: list[int], answers: dict[str, Any]) -> None:
    for project_id in project_ids:
        for one in answers[f"/api/developer/builds/by/project/{project_id}"]:
            path = f"/api/developer/builds/{one['id']}"
            for address in (path, f"{path}/jobs", f"/api/admin/history/build/{one['id']}?limit=1000"):
                answers[address] = await ask(here, address)
            for job in answers[f"{path}/jobs"]:
                address = f"/api/developer/jobs/{job['id']}/artifacts"
                answers[address] = await ask(here, address)
                address = f"/api/admin/history/job/{job['id']}?limit=1000"
                answers[address] = await ask(here, address)
            step = "-1"
            while step:
                address = f"/api/developer/logs/{one['id']}/{step}"
                answers[address] = await ask(here, address)
                step = answers[address].get("step", "")


async def record(release: str) -> None:
    folder = FOLDER / release
    folder.mkdir()
    with tempfile.TemporaryDirectory() as place:
        more = {"build_timeout_seconds": FOR_EVER, "runner_offline_seconds": FOR_EVER}
        async with whole_stage(Path(place) / "stage", long_poll_seconds=1.0, **more) as here:
            left = await live(here, Path(place))
            answers = {path: await ask(here, path) for path in LISTS}
            for path in kinds(answers):
                answers[path] = await ask(here, path)
            await builds(here, [one["id"] for one in answers["/api/admin/projects"]], answers)
            kept = {"left": asdict(left), "answers": answers}
            (folder / "answers.json").write_text(json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
            async with mongo(here.settings, "record") as client:
                await write_dump(folder / "databases.bson.gz", client, here.settings)


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1]))
