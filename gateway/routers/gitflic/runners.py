"""Runners in GitFlic's API. Routes with a literal path segment come first, because an alias can equal the segment."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Security

from contracts.builds import ListJobs
from contracts.runners import (
    DeleteRunner,
    EditRunner,
    GetRunner,
    ListRunners,
    PauseRunner,
    ResetRegistrationToken,
    RevealRegistrationToken,
)
from gateway.adapters.gitflic.job_list import JOB_PAGE, read_status_filter
from gateway.adapters.gitflic.ownership import (
    FindOwner,
    authorize_company,
    authorize_project,
    filter_by_owner,
    find_runner,
    find_runner_of,
    read_runner_uuid,
    registration_scope_of,
)
from gateway.adapters.gitflic.runner_models import RUNNER, RUNNER_PAGE, RunnerFields
from gateway.adapters.gitflic.runner_registration import REGISTRATION_INFO
from gateway.adapters.gitflic.slices import read_slice_fields
from gateway.dependencies import RequireRole, gitflic_admin, gitflic_user
from gateway.forwarding.forward import forward
from gateway.routers.prefix_router import gitflic_router
from libs.eventstore.decider import Actor
from libs.messaging.request_reply import ReturnMessage

READ, WRITE = "RUNNER_READ", "RUNNER_WRITE"
AdminReader = Annotated[Actor, Security(gitflic_admin, scopes=[READ])]

admins = gitflic_router("/api/admin/runners", "Runners")
projects = gitflic_router("/api/project/{owner_alias}/{project_alias}/runners", "Runners")
companies = gitflic_router("/api/company/{company_alias}/runners", "Runners")


def add_registration_routes(router: APIRouter, role: RequireRole, scope: dict[str, Any]) -> None:
    # a scope for writing, because the registration token can register runners
    writer = Annotated[Actor, Security(role, scopes=[WRITE])]
    forward(
        router,
        "GET",
        "/registration-info",
        RevealRegistrationToken,
        writer,
        "Get the URL and the token for registering runners in this scope. The first request creates the token.",
        response=REGISTRATION_INFO,
        **scope,
    )
    forward(
        router,
        "POST",
        "/reset-registration-token",
        ResetRegistrationToken,
        writer,
        "Create a new registration token for the scope. The previous one becomes invalid.",
        **scope,
    )


def add_list(router: APIRouter, path: str, role: RequireRole, *filters: Any) -> None:
    forward(
        router,
        "GET",
        path,
        ListRunners,
        Annotated[Actor, Security(role, scopes=[READ])],
        "List runners by their latest contact, newest first.",
        response=RUNNER_PAGE,
        fields=(Depends(read_slice_fields), *filters),
    )


def add_job_list(path: str, **runner: Any) -> None:
    forward(
        admins,
        "GET",
        path,
        ListJobs,
        AdminReader,
        "List all jobs, or the jobs of a runner: unfinished ones, then the latest finished ones.",
        response=JOB_PAGE,
        fields=(Depends(read_slice_fields), Depends(read_status_filter)),
        errors=("JOB_STATUS_INVALID",),
        **runner,
    )


def add_runner_routes(router: APIRouter, role: RequireRole, find: Any, find_before_body: Any) -> None:
    """Add the routes of a single runner, which the dependency `find` resolves.

    Edits use `find_before_body` instead: it reports a missing runner before the body is checked.
    """
    writer = Annotated[Actor, Security(role, scopes=[WRITE])]
    found = Annotated[str, Security(find, scopes=[WRITE])]
    forward(
        router,
        "GET",
        "/{runner_uuid}",
        GetRunner,
        Annotated[Actor, Security(role, scopes=[READ])],
        "Get a runner by its UUID.",
        response=RUNNER,
        runner_uuid=Annotated[str, Security(find, scopes=[READ])],
    )
    forward(
        router,
        "POST",
        "/{runner_uuid}/shutdown",
        PauseRunner,
        writer,
        "Pause a runner: it finishes its jobs and gets no new ones. Undo it by an edit with `isActive`.",
        runner_uuid=found,
    )
    forward(
        router,
        "POST",
        "/{runner_uuid}/edit",
        EditRunner,
        writer,
        "Change the given fields; fields that are null or missing stay unchanged.",
        body=RunnerFields,
        response=RUNNER,
        return_message=ReturnMessage(GetRunner, "runner_uuid"),
        errors=("RUNNER_INVALID",),
        runner_uuid=Annotated[str, Security(find_before_body, scopes=[WRITE])],
    )
    forward(
        router,
        "DELETE",
        "/{runner_uuid}",
        DeleteRunner,
        writer,
        "Delete a runner. Its token becomes invalid. Its jobs fail or are retried.",
        status_code=204,
        runner_uuid=found,
    )


def add_owner_routes(router: APIRouter, owner: FindOwner) -> None:
    """Add the routes for the runners of a project or company. The dependency `owner` finds it and checks the user."""
    registration_scope = Annotated[str, Security(registration_scope_of(owner), scopes=[WRITE])]
    add_registration_routes(router, gitflic_user, {"scope": registration_scope})
    add_list(router, "", gitflic_user, Security(filter_by_owner(owner), scopes=[READ]))
    add_runner_routes(router, gitflic_user, find_runner_of(owner), find_runner_of(owner))


add_registration_routes(admins, gitflic_admin, {"fixed": {"scope": "service"}})
add_list(admins, "", gitflic_admin)
add_list(
    admins,
    "/project/{owner_alias}/{project_alias}",
    gitflic_admin,
    Security(filter_by_owner(authorize_project), scopes=[READ]),
)
add_list(admins, "/company/{company_alias}", gitflic_admin, Security(filter_by_owner(authorize_company), scopes=[READ]))
add_job_list("/all/jobs")
add_job_list("/{runner_uuid}/jobs", runner_uuid=Annotated[str, Security(find_runner, scopes=[READ])])
add_runner_routes(admins, gitflic_admin, read_runner_uuid, find_runner)
add_owner_routes(projects, authorize_project)
add_owner_routes(companies, authorize_company)
