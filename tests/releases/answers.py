"""API responses of a release, stored as compressed JSON: one response per path."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from tests.support.in_process.build_system import BuildSystem

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
SECRET_RESOURCES = ("secrets", "credentials")  # not recorded: reading them records an event, which changes histories
VOLATILE_MEMBERS = ("timestamp", "trace_id")  # members of an error response that differ in each response
STREAM_KINDS = {"companies": "company", "executors": "executor", "projects": "project", "developers": "user"}
DELETED_IDS = {"user": 4, "company": 2, "project": 3, "secret": 3, "credential": 3, "executor": 4}


def history_path(kind: str, id_: object) -> str:
    return f"/api/admin/history/{kind}/{id_}?per_page=1000"


def list_detail_paths(responses: Answers) -> Iterator[str]:
    """Yield the paths of the listed resources, of their histories, and of the histories of deleted resources."""
    for name in (*STREAM_KINDS, *SECRET_RESOURCES):
        for resource in responses[f"/api/admin/{name}"]:
            yield f"/api/admin/{name}/{resource['id']}"
            if name in STREAM_KINDS:
                yield history_path(STREAM_KINDS[name], resource["id"])
    for user in responses["/api/admin/developers"]:
        yield f"/api/admin/developers/{user['id']}/tokens"
        yield history_path("membership", user["id"])
    for project in responses["/api/admin/projects"]:
        yield f"/api/admin/projects/{project['id']}/deliveries?{PAGE_QUERY}"
        yield f"/api/developer/builds/by/project/{project['id']}"
        yield history_path("lane", project["id"])
    for runner in responses["/api/admin/runners?size=100"]["_embedded"]["restPipelineRunnerModelList"]:
        yield f"/api/admin/runners/{runner['id']}"
        yield f"/api/admin/runners/{runner['id']}/jobs?size=1000"
        yield history_path("runner", runner["id"])
    for scope in ("service", "company-1", "project-1"):
        yield history_path("registration", scope)
    for kind, number in DELETED_IDS.items():
        yield history_path(kind, number)


async def fetch(http: httpx.AsyncClient, path: str, headers: dict[str, str]) -> Any:
    """Return the JSON or text of a response. For an error: its status and its members except VOLATILE_MEMBERS."""
    response = await http.get(path, headers=headers)
    if response.status_code == 200:
        return response.json() if response.headers["content-type"].startswith("application/json") else response.text
    refusal = {name: value for name, value in response.json().items() if name not in VOLATILE_MEMBERS}
    return {"status": response.status_code, **refusal}


def without_volatile_members(response: Any) -> Any:
    if isinstance(response, dict) and "status" in response and "trace_id" in response:
        return {name: value for name, value in response.items() if name not in VOLATILE_MEMBERS}
    return response


async def read_all_answers(system: BuildSystem, excluded_paths: tuple[str, ...] = ()) -> Answers:
    """Return the responses by path. `excluded_paths`: paths whose responses change without requests."""
    responses = {path: await fetch(system.http, path, system.admin) for path in LIST_PATHS}
    for path in list_detail_paths(responses):
        responses[path] = await fetch(system.http, path, system.admin)
    for project in responses["/api/admin/projects"]:
        await _read_builds(system, project, responses)
    return {path: response for path, response in responses.items() if path not in excluded_paths}


async def _read_builds(system: BuildSystem, project: Any, responses: Answers) -> None:
    files = f"/api/project/{project['owner_alias']}/{project['alias']}/cicd"
    for delivery in responses[f"/api/admin/projects/{project['id']}/deliveries?{PAGE_QUERY}"]["data"]:
        address = f"/api/admin/deliveries/{delivery['id']}"
        responses[address] = await fetch(system.http, address, system.admin)
    for build in responses[f"/api/developer/builds/by/project/{project['id']}"]:
        path = f"/api/developer/builds/{build['id']}"
        for address in (path, f"{path}/jobs", history_path("build", build["id"])):
            responses[address] = await fetch(system.http, address, system.admin)
        for job in responses[f"{path}/jobs"]:
            for address in (
                f"/api/developer/jobs/{job['id']}/artifacts",
                f"/api/developer/jobs/{job['id']}/log",
                history_path("job", job["id"]),
            ):
                responses[address] = await fetch(system.http, address, system.admin)
        step = "-1"
        while step:
            address = f"/api/developer/logs/{build['id']}/{step}"
            responses[address] = await fetch(system.http, address, system.admin)
            step = responses[address].get("step", "")
    for number in (1, 2, 5, 6):
        address = f"{files}/job/{number}/artifacts?size=100"
        responses[address] = await fetch(system.http, address, system.admin)


def write_answers(folder: Path, leftovers: dict[str, Any], responses: Answers) -> None:
    text = json.dumps({"left": leftovers, "answers": responses}, indent=1, ensure_ascii=False)
    (folder / "answers.json.gz").write_bytes(gzip.compress(text.encode(), mtime=0))


def read_answers(folder: Path) -> tuple[dict[str, Any], Answers]:
    """Return the recorded `Leftovers` and the recorded responses by path."""
    plain, packed = folder / "answers.json", folder / "answers.json.gz"
    recorded = json.loads(plain.read_bytes() if plain.exists() else gzip.decompress(packed.read_bytes()))
    return recorded["left"], recorded["answers"]
