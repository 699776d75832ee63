"""Data that an administrator reads from a stack over HTTP, so that two stacks can be compared."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tests.support.stacks.running_stack import RunningStack

LIST_PATHS = (
    "/admin/projects",
    "/admin/secrets",
    "/admin/credentials",
    "/admin/developers",
    "/admin/companies",
    "/admin/executors",
    "/admin/user?size=1000",
    "/admin/config/env",
    "/admin/runners/registration-info",
    "/admin/runners/all/jobs?size=1000",
    "/developer/builds/queueds",
    "/developer/builds/executeds",
    "/developer/paginations/project?per_page=100",
    "/developer/paginations/developer?per_page=100",
    "/developer/paginations/secret?per_page=100",
    "/developer/statistics/sum/duration",
    "/user/info",
    "/user/tokens",
)
DETAIL_PATHS = {
    "user": ("/admin/developers/{id}", "/admin/developers/{id}/tokens"),
    "company": ("/admin/companies/{id}",),
    "project": ("/admin/projects/{id}", "/developer/builds/by/project/{id}", "/admin/projects/{id}/deliveries"),
    "secret": ("/developer/secrets/{id}",),
    "credential": ("/developer/credentials/{id}",),
    "executor": ("/admin/executors/{id}",),
    "delivery": ("/admin/deliveries/{id}",),
    "build": ("/developer/builds/{id}", "/developer/builds/{id}/jobs"),
    "job": ("/developer/jobs/{id}/artifacts",),
}
SECRET_PATHS = {"secret": "/admin/secrets/{id}", "credential": "/admin/credentials/{id}"}


def read_everything(stack: RunningStack, streams: Sequence[str]) -> dict[str, Any]:
    """Return the responses by path: lists, resources, artifacts and histories, and the log sections of each build.

    Histories of runners, memberships, registrations and notifications are left out.
    """
    paths = [*LIST_PATHS, *(path for stream in streams for path in _paths_of_stream(stream))]
    responses = {path: _get(stack, path) for path in paths}
    for path, (_, body) in [item for item in responses.items() if item[0].endswith("/artifacts")]:
        responses |= {
            f"{path}/{artifact['id']}": _get(stack, f"{path}/{artifact['id']}") for artifact in _as_list(body)
        }
    return responses | {
        f"log of {stream}": _read_log(stack, stream[6:]) for stream in streams if stream.startswith("build-")
    }


def read_secret_values(stack: RunningStack, streams: Sequence[str]) -> dict[str, Any]:
    """Return the decrypted secrets and credentials by stream. Each read records an event."""
    return {
        stream: _get(stack, SECRET_PATHS[kind].format(id=id_))
        for stream in streams
        for kind, _, id_ in [stream.partition("-")]
        if kind in SECRET_PATHS
    }


def _paths_of_stream(stream: str) -> Iterator[str]:
    kind, _, id_ = stream.partition("-")
    if kind not in ("runner", "membership", "registration", "notification"):
        yield f"/admin/history/{kind}/{id_}?per_page=100"
    yield from (path.format(id=id_) for path in DETAIL_PATHS.get(kind, ()))


def _read_log(stack: RunningStack, build_id: str) -> list[Any]:
    """Return the responses for all log sections of a build. The last response is the 404 after the last section."""
    sections = [_get(stack, f"/developer/logs/{build_id}/-1")]
    while sections[-1][0] == 200:
        sections.append(_get(stack, f"/developer/logs/{build_id}/{sections[-1][1]['step']}"))
    return sections


def _as_list(body: Any) -> Sequence[dict[str, Any]]:
    return body if isinstance(body, list) else []


def _get(stack: RunningStack, path: str) -> tuple[int, Any]:
    response = stack.admin.get(path)
    assert response.status_code in (200, 404), f"{path}: {response.status_code} {response.text}"
    as_json = "json" in response.headers.get("content-type", "")
    body = json.loads(response.text.replace(stack.url, "")) if as_json else response.content
    if isinstance(body, dict):
        body = {name: value for name, value in body.items() if name not in ("timestamp", "trace_id")}
    return response.status_code, body
