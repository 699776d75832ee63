"""What a release answers about everything there is: one answer for each address, as JSON, compressed."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.in_process.whole_stage import BuildSystem

Answers = dict[str, Any]
PAGE_QUERY = "page=1&per_page=100"
LIST_PATHS = (
    *(f"/api/admin/{name}" for name in ("companies", "credentials", "executors", "projects", "secrets", "developers")),
    *(f"/api/developer/paginations/{name}?{PAGE_QUERY}" for name in ("developer", "project", "secret")),
    "/api/developer/builds/queueds",
    "/api/developer/builds/executeds",
    f"/api/developer/statistics/sum/duration?{PAGE_QUERY}",
    "/api/admin/user?size=100",
    "/api/admin/user/ada/key?size=100",
    "/api/admin/runners?size=100",
    "/api/admin/runners/all/jobs?size=1000",
    "/api/admin/runners/registration-info",
    "/api/company/mill/runners/registration-info",
)
SECRET_RESOURCES = ("secrets", "credentials")  # each look at one is recorded: the look of today comes on top
VOLATILE_MEMBERS = ("timestamp", "trace_id")  # members of a refusal
STREAM_KINDS = {"companies": "company", "executors": "executor", "projects": "project", "developers": "user"}
DELETED_IDS = {"user": 4, "company": 2, "project": 3, "secret": 3, "credential": 3, "executor": 4}


def history_path(kind: str, id_: object) -> str:
    return f"/api/admin/history/{kind}/{id_}?per_page=1000"


def list_detail_paths(answers: Answers) -> Iterator[str]:
    """The addresses of single things that the lists name."""
    for name in (*STREAM_KINDS, *SECRET_RESOURCES):
        for one in answers[f"/api/admin/{name}"]:
            yield f"/api/admin/{name}/{one['id']}"
            if name in STREAM_KINDS:
                yield history_path(STREAM_KINDS[name], one["id"])
    for one in answers["/api/admin/developers"]:
        yield f"/api/admin/developers/{one['id']}/tokens"
        yield history_path("membership", one["id"])
    for one in answers["/api/admin/projects"]:
        yield f"/api/admin/projects/{one['id']}/deliveries?{PAGE_QUERY}"
        yield f"/api/developer/builds/by/project/{one['id']}"
        yield history_path("lane", one["id"])
    for one in answers["/api/admin/runners?size=100"]["_embedded"]["restPipelineRunnerModelList"]:
        yield f"/api/admin/runners/{one['id']}"
        yield f"/api/admin/runners/{one['id']}/jobs?size=1000"
        yield history_path("runner", one["id"])
    for scope in ("service", "company-1", "project-1"):
        yield history_path("registration", scope)
    for kind, number in DELETED_IDS.items():
        yield history_path(kind, number)


async def fetch(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> Any:
    """JSON or text; of a refusal also the status, without what is another one each time."""
    answer = await http.get(path, headers=headers)
    if answer.status_code == 200:
        return answer.json() if answer.headers["content-type"].startswith("application/json") else answer.text
    refusal = {name: value for name, value in answer.json().items() if name not in VOLATILE_MEMBERS}
    return {"status": answer.status_code, **refusal}


def without_volatile_members(answer: Any) -> Any:
    """Without what a refusal that was recorded with all its members has anew each time."""
    if isinstance(answer, dict) and "status" in answer and "trace_id" in answer:
        return {name: value for name, value in answer.items() if name not in VOLATILE_MEMBERS}
    return answer


async def read_all_answers(here: BuildSystem, excluded_paths: tuple[str, ...] = ()) -> Answers:
    """`unsettled`: addresses of what goes on without anybody's doing."""
    answers = {path: await fetch(here.http, path, here.admin) for path in LIST_PATHS}
    for path in list_detail_paths(answers):
        answers[path] = await fetch(here.http, path, here.admin)
    for one in answers["/api/admin/projects"]:
        await _read_builds(here, one, answers)
    return {path: answer for path, answer in answers.items() if path not in excluded_paths}


async def _read_builds(here: BuildSystem, project: Any, answers: Answers) -> None:
    files = f"/api/project/{project['owner_alias']}/{project['alias']}/cicd"
    for one in answers[f"/api/admin/projects/{project['id']}/deliveries?{PAGE_QUERY}"]["data"]:
        address = f"/api/admin/deliveries/{one['id']}"
        answers[address] = await fetch(here.http, address, here.admin)
    for one in answers[f"/api/developer/builds/by/project/{project['id']}"]:
        path = f"/api/developer/builds/{one['id']}"
        for address in (path, f"{path}/jobs", history_path("build", one["id"])):
            answers[address] = await fetch(here.http, address, here.admin)
        for job in answers[f"{path}/jobs"]:
            for address in (
                f"/api/developer/jobs/{job['id']}/artifacts",
                f"/api/developer/jobs/{job['id']}/log",
                history_path("job", job["id"]),
            ):
                answers[address] = await fetch(here.http, address, here.admin)
        step = "-1"
        while step:
            address = f"/api/developer/logs/{one['id']}/{step}"
            answers[address] = await fetch(here.http, address, here.admin)
            step = answers[address].get("step", "")
    for number in (1, 2, 5, 6):
        address = f"{files}/job/{number}/artifacts?size=100"
        answers[address] = await fetch(here.http, address, here.admin)


def write_answers(folder: Path, left: dict[str, Any], answers: Answers) -> None:
    text = json.dumps({"left": left, "answers": answers}, indent=1, ensure_ascii=False)
    (folder / "answers.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def read_answers(folder: Path) -> tuple[dict[str, Any], Answers]:
    """What was left, and the answers."""
    plain, packed = folder / "answers.json", folder / "answers.json.gz"
    kept = json.loads(plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes()))
    return kept["left"], kept["answers"]
