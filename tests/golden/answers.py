"""What a release answers about everything there is: one answer for each address, as JSON, compressed."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.integration.whole_stage import Whole

Answers = dict[str, Any]
PAGE = "page=1&per_page=100"
LISTS = (
    *(f"/api/admin/{name}" for name in ("companies", "credentials", "executors", "projects", "secrets", "developers")),
    *(f"/api/developer/paginations/{name}?{PAGE}" for name in ("developer", "project", "secret")),
    "/api/developer/builds/queueds",
    "/api/developer/builds/executeds",
    f"/api/developer/statistics/sum/duration?{PAGE}",
    "/api/admin/user?size=100",
    "/api/admin/user/ada/key?size=100",
    "/api/admin/runners?size=100",
    "/api/admin/runners/all/jobs?size=1000",
    "/api/admin/runners/registration-info",
    "/api/company/mill/runners/registration-info",
)
REVEALED = ("secrets", "credentials")  # each look at one is recorded: the look of today comes on top
FLEETING = ("timestamp", "trace_id")  # members of a refusal
SINGULAR = {"companies": "company", "executors": "executor", "projects": "project", "developers": "user"}
DELETED = {"user": 4, "company": 2, "project": 3, "secret": 3, "credential": 3, "executor": 4}


def history(kind: str, id_: object) -> str:
    return f"/api/admin/history/{kind}/{id_}?per_page=1000"


def addresses(answers: Answers) -> Iterator[str]:
    """The addresses of single things that the lists name."""
    for name in (*SINGULAR, *REVEALED):
        for one in answers[f"/api/admin/{name}"]:
            yield f"/api/admin/{name}/{one['id']}"
            if name in SINGULAR:
                yield history(SINGULAR[name], one["id"])
    for one in answers["/api/admin/developers"]:
        yield f"/api/admin/developers/{one['id']}/tokens"
        yield history("membership", one["id"])
    for one in answers["/api/admin/projects"]:
        yield f"/api/admin/projects/{one['id']}/deliveries?{PAGE}"
        yield f"/api/developer/builds/by/project/{one['id']}"
        yield history("lane", one["id"])
    for one in answers["/api/admin/runners?size=100"]["_embedded"]["restPipelineRunnerModelList"]:
        yield f"/api/admin/runners/{one['id']}"
        yield f"/api/admin/runners/{one['id']}/jobs?size=1000"
        yield history("runner", one["id"])
    for scope in ("service", "company-1", "project-1"):
        yield history("registration", scope)
    for kind, number in DELETED.items():
        yield history(kind, number)


async def ask(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> Any:
    """JSON or text; of a refusal also the status, without what is another one each time."""
    answer = await http.get(path, headers=headers)
    if answer.status_code == 200:
        return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text
    refusal = {name: value for name, value in answer.json().items() if name not in FLEETING}
    return {"status": answer.status_code, **refusal}


def lasting(answer: Any) -> Any:
    """Without what a refusal that was recorded with all its members has anew each time."""
    if isinstance(answer, dict) and "status" in answer and "trace_id" in answer:
        return {name: value for name, value in answer.items() if name not in FLEETING}
    return answer


async def every_answer(here: Whole, unsettled: tuple[str, ...] = ()) -> Answers:
    """`unsettled`: addresses of what goes on without anybody's doing."""
    answers = {path: await ask(here.http, path, here.admin) for path in LISTS}
    for path in addresses(answers):
        answers[path] = await ask(here.http, path, here.admin)
    for one in answers["/api/admin/projects"]:
        await _builds(here, one, answers)
    return {path: answer for path, answer in answers.items() if path not in unsettled}


async def _builds(here: Whole, project: Any, answers: Answers) -> None:
    files = f"/api/project/{project['owner_alias']}/{project['alias']}/cicd"
    for one in answers[f"/api/admin/projects/{project['id']}/deliveries?{PAGE}"]["data"]:
        address = f"/api/admin/deliveries/{one['id']}"
        answers[address] = await ask(here.http, address, here.admin)
    for one in answers[f"/api/developer/builds/by/project/{project['id']}"]:
        path = f"/api/developer/builds/{one['id']}"
        for address in (path, f"{path}/jobs", history("build", one["id"])):
            answers[address] = await ask(here.http, address, here.admin)
        for job in answers[f"{path}/jobs"]:
            for address in (
                f"/api/developer/jobs/{job['id']}/artifacts",
                f"/api/developer/jobs/{job['id']}/log",
                history("job", job["id"]),
            ):
                answers[address] = await ask(here.http, address, here.admin)
        step = "-1"
        while step:
            address = f"/api/developer/logs/{one['id']}/{step}"
            answers[address] = await ask(here.http, address, here.admin)
            step = answers[address].get("step", "")
    for number in (1, 2, 5, 6):
        address = f"{files}/job/{number}/artifacts?size=100"
        answers[address] = await ask(here.http, address, here.admin)


def write(folder: Path, left: dict[str, Any], answers: Answers) -> None:
    text = json.dumps({"left": left, "answers": answers}, indent=1, ensure_ascii=False)
    (folder / "answers.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def read(folder: Path) -> tuple[dict[str, Any], Answers]:
    """What was left, and the answers."""
    plain, packed = folder / "answers.json", folder / "answers.json.gz"
    kept = json.loads(plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes()))
    return kept["left"], kept["answers"]
