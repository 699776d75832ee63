"""Runners, as GitFlic has them. Of paths of one shape the literal words stand first: an alias may be any of them."""

from functools import partial

from contracts.builds import ListJobs
from contracts.runners import (
    DeleteRunner,
    EditRunner,
    GetRegistrationInfo,
    GetRunner,
    ListRunners,
    ResetRegistrationToken,
    ShutDownRunner,
)
from gateway.auth import Role
from gateway.dialects.gitflic import jobs, owners
from gateway.dialects.gitflic.owners import FindOwner
from gateway.dialects.gitflic.registration import REGISTRATION_INFO
from gateway.dialects.gitflic.runners import EDIT, RUNNER, RUNNER_PAGE, as_shown
from gateway.routes.gitflic import ask, listing, tell
from gateway.routing import Find, Route, Shown
from libs.messaging import Showing

RUNNER_LIST = partial(listing, message=ListRunners, write=RUNNER_PAGE)
JOB_LIST = partial(
    listing,
    message=ListJobs,
    write=jobs.JOB_PAGE,
    parts=(jobs.wanted,),
    query=jobs.PARAMETERS,
    errors=("JOB_STATUS_INVALID",),
)
_runner = Shown(Showing(GetRunner, "runner_uuid"), RUNNER)
edit = partial(
    tell, "POST", message=EditRunner, body=EDIT, parts=(as_shown,), shows=_runner, errors=("RUNNER_INVALID",)
)


def registration(base: str, find: Find, needs: Role) -> tuple[Route, ...]:
    return (
        ask(f"{base}/registration-info", GetRegistrationInfo, find=find, write=REGISTRATION_INFO, needs=needs),
        tell("POST", f"{base}/reset-registration-token", ResetRegistrationToken, find=find, needs=needs),
    )


def each(base: str, find: Find, before_body: Find, needs: Role) -> tuple[Route, ...]:
    """What there is for one runner; that it is not there is said before what is wrong with the body."""
    one = f"{base}/{{runner_uuid}}"
    return (
        ask(one, GetRunner, find=find, write=RUNNER, needs=needs),
        tell("POST", f"{one}/shutdown", ShutDownRunner, find=find, needs=needs),
        edit(path=f"{one}/edit", find=before_body, needs=needs),
        tell("DELETE", one, DeleteRunner, find=find, status=204, needs=needs),
    )


def owned(base: str, owner: FindOwner) -> tuple[Route, ...]:
    """For administrators and for the owners themselves."""
    runner = owners.runner_of(owner)
    return (
        *registration(base, owners.scope_of(owner), Role.USER),
        RUNNER_LIST(base, find=owners.runners_of(owner), needs=Role.USER),
        *each(base, runner, runner, Role.USER),
    )


RUNNERS = (
    *registration("/admin/runners", owners.service, Role.ADMIN),
    RUNNER_LIST("/admin/runners"),
    RUNNER_LIST("/admin/runners/project/{owner_alias}/{project_alias}", find=owners.runners_of(owners.project)),
    RUNNER_LIST("/admin/runners/company/{company_alias}", find=owners.runners_of(owners.company)),
    JOB_LIST("/admin/runners/all/jobs"),
    JOB_LIST("/admin/runners/{runner_uuid}/jobs", find=owners.known_runner),
    *each("/admin/runners", owners.any_runner, owners.known_runner, Role.ADMIN),
    *owned("/project/{owner_alias}/{project_alias}/runners", owners.project),
    *owned("/company/{company_alias}/runners", owners.company),
)
