"""Queries to the services that own projects and companies. Unlike projections, they reflect new members at once."""

from collections.abc import Sequence

from contracts.errors import RequestRejected
from contracts.identity import CompanyView, GetCompany
from contracts.projects import GetLaunchSettings, LaunchSettings, ProjectAccess
from libs.service.declaration import Context


async def fetch_project_access(ctx: Context, project_id: int) -> ProjectAccess | None:
    """Return who may access a project, or None if it does not exist or the user may not see it."""
    try:
        return await ctx.query(GetLaunchSettings(project_id=project_id), LaunchSettings)
    except RequestRejected as rejected:
        if rejected.code != "PROJECT_NOT_FOUND":
            raise
        return None


async def fetch_company_members(ctx: Context, company_id: int | None) -> Sequence[int]:
    """Return the members of a company; empty without a company, or if it was deleted."""
    if company_id is None:
        return ()
    try:
        return (await ctx.query(GetCompany(company_id=company_id), CompanyView)).members_id
    except RequestRejected as rejected:
        if rejected.code != "COMPANY_NOT_FOUND":
            raise
        return ()
