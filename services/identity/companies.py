from contracts.errors import RequestRejected
from contracts.identity import (
    Companies,
    CompanyView,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    RecordCompany,
    SetCompanyMembers,
)
from contracts.messages import CommandReply
from contracts.projects import GetProjectCount, ProjectCount
from libs.normalization import sort_unique
from libs.service.declaration import Context
from libs.slugs import find_free_slug, make_slug, slug_family_regex
from services.identity.domain.company import validate_alias, validate_title
from services.identity.projections import CompanyRow, UserRow
from services.identity.views import to_company_view

MAX_ALIAS_ATTEMPTS = 10


async def create_company(ctx: Context, command: CreateCompany) -> CommandReply:
    """Create a company. Retry with another generated alias if the first one was taken concurrently."""
    record = RecordCompany.model_validate(dict(command))
    for _ in range(MAX_ALIAS_ATTEMPTS - 1):
        try:
            return await ctx.send(record)  # a rejected command leaves no record, so its id can be reused
        except RequestRejected as rejected:
            if rejected.code != "COMPANY_ALIAS_TAKEN" or command.alias:
                raise
    return await ctx.send(record)


async def prepare_company(ctx: Context, command: RecordCompany) -> RecordCompany:
    """Set the id and, if the command has none, the alias of a new company."""
    title = validate_title(command.title)
    alias = validate_alias(command.alias) if command.alias else await find_free_alias(ctx, make_slug(title, "company"))
    await require_members(ctx, command)
    return command.replace(alias=alias, company_id=await ctx.next_id("company"))


async def require_members(
    ctx: Context, command: RecordCompany | SetCompanyMembers
) -> RecordCompany | SetCompanyMembers:
    """Return the command. Raise RequestRejected if one of the members does not exist."""
    members = sort_unique(command.members_id)
    streams = [f"user-{user_id}" for user_id in members]
    existing = {row.id for row in await ctx.read_model(UserRow).find({"_id": {"$in": streams}})}
    if missing := set(members) - existing:
        raise RequestRejected("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")
    return command


async def find_free_alias(ctx: Context, wanted: str) -> str:
    """Return the wanted alias, or the first numbered variant that no user or company has."""
    variants = {"$regex": slug_family_regex(wanted)}
    users = await ctx.read_model(UserRow).find({"username_key": variants})
    companies = await ctx.read_model(CompanyRow).find({"alias_key": variants})
    return find_free_slug(wanted, {row.username_key for row in users} | {row.alias_key for row in companies})


async def prepare_company_deletion(ctx: Context, command: DeleteCompany) -> DeleteCompany:
    """Return the command. Raise RequestRejected if the company still owns projects."""
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


async def list_companies(ctx: Context, _query: ListCompanies) -> Companies:
    rows = await ctx.read_model(CompanyRow).find({}, [("id", 1)])
    return Companies(companies=tuple(to_company_view(row) for row in rows))


async def find_company(ctx: Context, company_id: int) -> CompanyRow | None:
    return await ctx.read_model(CompanyRow).get(f"company-{company_id}")


async def find_company_by_alias(ctx: Context, alias: str | None) -> CompanyRow | None:
    return await ctx.read_model(CompanyRow).find_one({"alias_key": (alias or "").lower()})
