"""Command preparation and queries for companies."""

from contracts.errors import RequestRejected
from contracts.identity import (
    CompanyView,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    SetCompanyMembers,
)
from contracts.messages import Page
from contracts.projects import GetProjectCount, ProjectCount
from libs.normalization import sort_unique
from libs.projections.paging import fetch_page
from libs.service.declaration import Context
from libs.slugs import find_free_slug, make_slug, slug_family_regex
from services.identity.domain.company import validate_alias, validate_title
from services.identity.domain.internal_commands import AddCompany
from services.identity.projections import CompanyRow, UserRow
from services.identity.views import to_company_view


def has_lost_alias(command: CreateCompany, code: str) -> bool:
    """Return whether the generated alias was taken concurrently, so that another one has to be generated."""
    return code == "COMPANY_ALIAS_TAKEN" and not command.alias


async def prepare_company(ctx: Context, command: CreateCompany) -> AddCompany:
    """Allocate the id of a new company, and choose an alias if the command has none."""
    title = validate_title(command.title)
    alias = validate_alias(command.alias) if command.alias else await find_free_alias(ctx, make_slug(title, "company"))
    await require_members(ctx, command)
    return AddCompany(company_id=await ctx.next_id("company"), title=title, alias=alias, members_id=command.members_id)


async def prepare_member_selection(ctx: Context, command: SetCompanyMembers) -> SetCompanyMembers:
    await require_members(ctx, command)
    return command


async def require_members(ctx: Context, command: CreateCompany | SetCompanyMembers) -> None:
    """Raise RequestRejected if one of the members does not exist."""
    members = sort_unique(command.members_id)
    streams = [f"user-{user_id}" for user_id in members]
    existing = {row.id for row in await ctx.read_model(UserRow).find({"_id": {"$in": streams}})}
    if missing := set(members) - existing:
        raise RequestRejected("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")


async def find_free_alias(ctx: Context, wanted: str) -> str:
    """Return the wanted alias, or the first numbered variant that no user or company has."""
    variants = {"$regex": slug_family_regex(wanted)}
    users = await ctx.read_model(UserRow).find({"username_key": variants})
    companies = await ctx.read_model(CompanyRow).find({"alias_key": variants})
    return find_free_slug(wanted, {row.username_key for row in users} | {row.alias_key for row in companies})


async def prepare_company_deletion(ctx: Context, command: DeleteCompany) -> DeleteCompany:
    """Return the command. Raises RequestRejected if the company still owns projects."""
    owned = await ctx.query(GetProjectCount(company_id=command.company_id), ProjectCount)
    if owned.count:
        raise RequestRejected("COMPANY_PROJECTS_NOT_EMPTY", f"The company still owns projects: {owned.count}.")
    return command


async def get_company(ctx: Context, query: GetCompany) -> CompanyView:
    if query.company_id is None:
        row = await find_company_by_alias(ctx, query.alias)
    else:
        row = await find_company(ctx, query.company_id)
    if row is None:
        raise RequestRejected("COMPANY_NOT_FOUND")
    return to_company_view(row)


async def list_companies(ctx: Context, query: ListCompanies) -> Page:
    return await fetch_page(ctx.read_model(CompanyRow), query, to_company_view)


async def find_company(ctx: Context, company_id: int) -> CompanyRow | None:
    return await ctx.read_model(CompanyRow).get(f"company-{company_id}")


async def find_company_by_alias(ctx: Context, alias: str | None) -> CompanyRow | None:
    return await ctx.read_model(CompanyRow).find_one({"alias_key": (alias or "").lower()})
