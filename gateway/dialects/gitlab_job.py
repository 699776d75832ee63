"""Asking for a job the GitLab way: the held request, and the job as every GitLab-compatible runner reads it."""

import asyncio
import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope

from contracts.builds import (
    ARCHIVE,
    Assignment,
    Claim,
    ClaimJob,
    Dependency,
    PlannedArtifacts,
    PlannedCache,
    PlannedImage,
    RunnerOffer,
    Variable,
)
from contracts.projects import GetRequestBody
from contracts.runners import RunnerProfile
from gateway.asked import World
from gateway.dialects.gitlab_runner import Members, members, touch
from gateway.waiting import Waiter
from libs.deciding import runner_called
from libs.git import with_credentials

RECHECK = 10.0  # seconds until a waiting runner asks again unasked: a call may be lost with the bus
PAUSED = 2.0  # seconds for which a runner that may take no job is held, so that it does not ask in a circle
REASONS = (
    "script_failure",
    "runner_system_failure",
    "job_execution_timeout",
    "image_pull_failure",
    "runner_configuration_error",
    "runner_external_dependency_failure",
    "runner_interrupted",
    "unknown_failure",
    "job_canceled",
)
REQUEST_BODY = "FREE_COMMIT_REQUEST_BODY"
LONGEST_VARIABLE = 128 * 1024  # bytes of `NAME=value` that Linux hands to a process
NO_COMMIT = "0" * 40
CONFIG_PATH = ".headrace/job-comes-from-the-server.yml"  # must not exist in the repository


async def request_job(world: World, scope: Scope, receive: Receive) -> Response:
    """201 with a job, or 204 once the time to wait is over.

    A runner that says what it was told with its last 204 does not look again for what was not there then.
    """
    sent = await members(scope, receive)
    with world.waiting.place() as waiter:
        waiter.looked = str(sent.get("last_update", ""))
        watching = asyncio.create_task(_watch(receive, waiter))
        try:
            assignment = await _wait(world, scope, sent, waiter)
        finally:
            watching.cancel()
        if waiter.gone and assignment is None:
            raise ClientDisconnect
    if assignment is None:
        return Response(status_code=204, headers={"X-GitLab-Last-Update": waiter.looked or world.waiting.news})
    request_body = await _request_body(world, assignment)
    return JSONResponse(job_object(assignment, waiter.offer, world.settings.url, request_body), 201)


async def _request_body(world: World, assignment: Assignment) -> bytes:
    """Fetched by itself, not within the assignment: together with many secrets it might be too much for one message."""
    if assignment.delivery_id is None:
        return b""
    return await world.caller.ask(GetRequestBody(delivery_id=assignment.delivery_id))


async def _watch(receive: Receive, waiter: Waiter) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    waiter.leave()


async def _wait(world: World, scope: Scope, sent: Members, waiter: Waiter) -> Assignment | None:
    """In the list before the first claim: what is queued between a claim and the wait is not missed."""
    clock = asyncio.get_running_loop().time
    begun = clock()
    limit = world.settings.long_poll_seconds
    while True:
        waiter.signal.clear()
        if waiter.stale:
            waiter.stale = False
            profile = await touch(world, scope, sent)
            waiter.runner_uuid = profile.runner_uuid
            world.waiting.settle(waiter, _offer(profile, sent) if profile.active else None)
        if waiter.gone or world.waiting.closed:
            return None
        if waiter.offer and (waiter.calls or waiter.looked != world.waiting.news):
            waiter.looked = world.waiting.news  # before the look: what is queued meanwhile is new
            if assignment := await _claim(world, waiter.offer, waiter):
                return assignment
        end = begun + (limit if waiter.offer else min(limit, PAUSED))
        try:
            async with asyncio.timeout_at(min(end, clock() + RECHECK)):
                await waiter.signal.wait()
        except TimeoutError:
            waiter.stale, waiter.looked = True, ""
        if waiter.gone or world.waiting.closed or clock() >= end:
            return None


async def _claim(world: World, offer: RunnerOffer, waiter: Waiter) -> Assignment | None:
    """Calls answered by this claim are done with, except where it brought another job: theirs may still be waiting."""
    heard = len(waiter.calls)
    answer = await world.caller.tell(ClaimJob(runner=offer), actor=runner_called(offer.name))
    assignment = Claim.model_validate_json(answer).assignment
    if assignment is None:
        del waiter.calls[:heard]
    else:
        waiter.calls = [job for job in waiter.calls if job.job_id != assignment.job_id]
    return assignment


def _offer(profile: RunnerProfile, sent: Members) -> RunnerOffer:
    return RunnerOffer(
        runner_id=profile.runner_id,
        runner_uuid=profile.runner_uuid,
        name=profile.name,
        tags=profile.tags,
        run_untagged=profile.run_untagged,
        protected=profile.protected,
        owner_type=profile.owner_type,
        owner_id=profile.owner_id,
        max_timeout_seconds=profile.max_timeout_seconds,
        cancels_gracefully=_announces(sent, "cancel_gracefully"),
    )


def _announces(sent: Members, feature: str) -> bool:
    match sent:
        case {"info": {"features": dict(features)}}:
            return features.get(feature) is True
        case _:
            return False


def job_object(
    assignment: Assignment, offer: RunnerOffer | None, url: str, request_body: bytes = b""
) -> dict[str, Any]:
    """Every key that one of the runners in use breaks without is here; unknown ones are ignored by all."""
    longest = offer.max_timeout_seconds if offer else None
    timeout = min(assignment.timeout_seconds, longest) if longest else assignment.timeout_seconds
    project = assignment.project
    path = f"{project.owner_alias}/{project.alias}"
    given = (*assignment.variables, *_request_variables(request_body))
    taken = {one.key for one in given}
    predefined = [one for one in _predefined(assignment, path, url) if one["key"] not in taken]
    return {
        "id": assignment.job_id,
        "token": assignment.token,
        "allow_git_fetch": True,
        "job_info": {
            "name": assignment.name,
            "stage": assignment.stage,
            "pipeline_id": assignment.build_id,
            "project_id": project.project_id,
            "project_name": project.name,
            "project_full_path": path,
            "time_in_queue_seconds": max(0, int((datetime.now(UTC) - assignment.queued_at).total_seconds())),
            "project_jobs_running_on_instance_runners_count": "0",
        },
        "git_info": _git(assignment),
        "runner_info": {"timeout": timeout},
        "variables": [*predefined, *map(_variable, given)],
        "steps": list(_steps(assignment, timeout)),
        "image": _image(assignment.container, assignment.image) if assignment.image else None,
        "services": [_image(one, one.name) for one in assignment.services],
        "artifacts": [_artifacts(assignment.artifacts)] if assignment.artifacts else None,
        "cache": [_cache(one) for one in assignment.caches],
        "credentials": [],
        "dependencies": [_dependency(assignment, one) for one in assignment.dependencies],
        "features": {"trace_sections": True, "failure_reasons": REASONS},
    }


def _image(said: PlannedImage | None, name: str) -> dict[str, Any]:
    """What nothing was said about is left out."""
    more = said.model_dump(mode="json", exclude={"name"}) if said else {}
    return {"name": name, **{key: value for key, value in more.items() if value}}


def _cache(wanted: PlannedCache) -> dict[str, Any]:
    return wanted.model_dump(mode="json")


def _artifacts(wanted: PlannedArtifacts) -> dict[str, Any]:
    """Runners know no more of a name that is null than of one that is missing."""
    named = {name: value for name, value in (("name", wanted.name), ("expire_in", wanted.expire_in)) if value}
    return {
        **named,
        "untracked": wanted.untracked,
        "paths": wanted.paths,
        "exclude": wanted.exclude,
        "when": wanted.when,
        "artifact_type": ARCHIVE,
        "artifact_format": "zip",
    }


def _dependency(assignment: Assignment, one: Dependency) -> dict[str, Any]:
    """Of other jobs' tokens only hashes are kept: the runner fetches with its own."""
    file = {"filename": one.file_name, "size": one.size}
    return {"id": one.job_id, "name": one.name, "token": assignment.token, "artifacts_file": file}


def _steps(assignment: Assignment, timeout: int) -> Iterator[dict[str, Any]]:
    yield {
        "name": "script",
        "script": list(assignment.script),
        "timeout": timeout,
        "when": "on_success",
        "allow_failure": False,
    }
    if assignment.after_script:
        yield {
            "name": "after_script",
            "script": list(assignment.after_script),
            "timeout": assignment.after_script_seconds,
            "when": "always",
            "allow_failure": True,
        }


def _git(assignment: Assignment) -> dict[str, Any]:
    is_tag = assignment.ref.startswith("refs/tags/")
    name = _ref_name(assignment)
    return {
        "repo_url": with_credentials(assignment.project.repository, assignment.repository_login),
        "ref": name,
        "sha": assignment.sha,
        "before_sha": NO_COMMIT,
        "ref_type": "tag" if is_tag else "branch",
        "refspecs": [
            f"+refs/tags/{name}:refs/tags/{name}" if is_tag else f"+refs/heads/{name}:refs/remotes/origin/{name}"
        ],
        "depth": 0,
    }


def _ref_name(assignment: Assignment) -> str:
    return assignment.ref.removeprefix("refs/heads/").removeprefix("refs/tags/")


def _predefined(assignment: Assignment, path: str, url: str) -> list[dict[str, Any]]:
    project = assignment.project
    name = _ref_name(assignment)
    values = {
        "CI": "true",
        "CI_SERVER_NAME": "Headrace",
        "CI_SERVER_URL": url,
        "CI_CONFIG_PATH": CONFIG_PATH,
        "CI_PROJECT_ID": project.project_id,
        "CI_PROJECT_NAME": project.alias,
        "CI_PROJECT_TITLE": project.name,
        "CI_PROJECT_NAMESPACE": project.owner_alias,
        "CI_PROJECT_PATH": path,
        "CI_PIPELINE_ID": assignment.build_id,
        "CI_JOB_ID": assignment.job_id,
        "CI_JOB_NAME": assignment.name,
        "CI_JOB_STAGE": assignment.stage,
        "CI_COMMIT_SHA": assignment.sha,
        "CI_COMMIT_SHORT_SHA": assignment.sha[:8],
        "CI_COMMIT_BEFORE_SHA": NO_COMMIT,
        "CI_COMMIT_REF_NAME": name,
        "CI_COMMIT_TAG" if assignment.ref.startswith("refs/tags/") else "CI_COMMIT_BRANCH": name,
    }
    return [_variable(Variable(key=key, value=str(value))) for key, value in values.items()]


def _request_variables(body: bytes) -> tuple[Variable, ...]:
    """The webhook's body: in a file always, and as base64 where it fits into one variable of an environment."""
    encoded = base64.b64encode(body).decode()
    fits = len(f"{REQUEST_BODY}={encoded}\0") <= LONGEST_VARIABLE
    return (
        Variable(key=REQUEST_BODY, value=encoded if fits else ""),
        Variable(key=f"{REQUEST_BODY}_FILE", value=body.decode(), file=True),
    )


def _variable(one: Variable) -> dict[str, Any]:
    return {
        "key": one.key,
        "value": one.value,
        "public": not one.masked,
        "masked": one.masked,
        "file": one.file,
        "raw": True,  # nothing in a value is expanded
    }
