"""Runners in GitFlic's API. Order matters: literal path segments come first, since an alias can equal any of them."""

from functools import partial

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
from gateway.adapters.gitflic import job_list, ownership
from gateway.adapters.gitflic.ownership import FindOwner
from gateway.adapters.gitflic.runner_models import EDIT, RUNNER, RUNNER_PAGE, accept_short_names
from gateway.adapters.gitflic.runner_registration import REGISTRATION_INFO
from gateway.auth import Role
from gateway.framework.route_table import Find, Route, Shown
from gateway.routes.gitflic.gitflic_builders import admin_command, admin_query, paged_query
from libs.messaging.request_reply import ReturnQuery

RUNNER_LIST = partial(paged_query, message=ListRunners, write=RUNNER_PAGE)
JOB_LIST = partial(
    paged_query,
    message=ListJobs,
    write=job_list.JOB_PAGE,
    parts=(job_list.read_status_filter,),
    query=job_list.PARAMETERS,
    errors=("JOB_STATUS_INVALID",),
)
_runner = Shown(ReturnQuery(GetRunner, "runner_uuid"), RUNNER)
edit_route = partial(
    admin_command,
    "POST",
    message=EditRunner,
    body=EDIT,
    parts=(accept_short_names,),
    shows=_runner,
    errors=("RUNNER_INVALID",),
)


def registration_routes(base: str, find: Find, needs: Role) -> tuple[Route, ...]:
    return (
        admin_command(
            "GET",
            f"{base}/registration-info",
            RevealRegistrationToken,
            find=find,
            write=REGISTRATION_INFO,
            needs=needs,
        ),
        admin_command("POST", f"{base}/reset-registration-token", ResetRegistrationToken, find=find, needs=needs),
    )


def runner_routes(base: str, find: Find, before_body: Find, needs: Role) -> tuple[Route, ...]:
    """Build the routes of a single runner, which `find` resolves.

    Edits use `before_body` instead: it reports a missing runner before the body is checked.
    """
    runner_path = f"{base}/{{runner_uuid}}"
    return (
        admin_query(runner_path, GetRunner, find=find, write=RUNNER, needs=needs),
        admin_command("POST", f"{runner_path}/shutdown", PauseRunner, find=find, needs=needs),
        edit_route(path=f"{runner_path}/edit", find=before_body, needs=needs),
        admin_command("DELETE", runner_path, DeleteRunner, find=find, status=204, needs=needs),
    )


def owner_routes(base: str, owner: FindOwner) -> tuple[Route, ...]:
    """Build the runner routes of a project or company, for its owners and administrators."""
    runner = ownership.find_runner_of(owner)
    return (
        *registration_routes(base, ownership.registration_scope_of(owner), Role.USER),
        RUNNER_LIST(base, find=ownership.filter_by_owner(owner), needs=Role.USER),
        *runner_routes(base, runner, runner, Role.USER),
    )


RUNNERS = (
    *registration_routes("/admin/runners", ownership.use_service_scope, Role.ADMIN),
    RUNNER_LIST("/admin/runners"),
    RUNNER_LIST(
        "/admin/runners/project/{owner_alias}/{project_alias}",
        find=ownership.filter_by_owner(ownership.authorize_project),
    ),
    RUNNER_LIST("/admin/runners/company/{company_alias}", find=ownership.filter_by_owner(ownership.authorize_company)),
    JOB_LIST("/admin/runners/all/jobs"),
    JOB_LIST("/admin/runners/{runner_uuid}/jobs", find=ownership.find_runner),
    *runner_routes("/admin/runners", ownership.read_runner_uuid, ownership.find_runner, Role.ADMIN),
    *owner_routes("/project/{owner_alias}/{project_alias}/runners", ownership.authorize_project),
    *owner_routes("/company/{company_alias}/runners", ownership.authorize_company),
)
