"""Companies: their rows, what their commands need before they are decided, and the answers about them."""

from datetime import UTC, datetime

from contracts.errors import RequestRejected
from contracts.identity import (
    Companies,
    CompanyCreated,
    CompanyDeleted,
    CompanyEvent,
    CompanyMembersSet,
    CompanyRenamed,
    CompanyTitleChanged,
    CompanyView,
    CreateCompany,
    DeleteCompany,
    GetCompany,
    ListCompanies,
    RecordCompany,
    SetCompanyMembers,
)
from contracts.messages import CommandReply, ReadModelRow
from contracts.projects import GetProjectCount, ProjectCount
from libs.eventstore.decider import Category, RecordedEvent
from libs.service.declaration import Context
from libs.slugs import find_free_slug, make_slug, slug_family_regex
from services.identity.domain.company import company_decider, sort_unique, validate_alias, validate_title

MAX_ALIAS_ATTEMPTS = 10


class CompanyRow(ReadModelRow):
    id: int = 0
    alias: str = ""
    alias_key: str = ""  # lower case
    title: str = ""
    members_id: tuple[int, ...] = ()
    created_at: datetime = datetime.fromtimestamp(0, UTC)


def apply_company_event(row: CompanyRow, recorded: RecordedEvent[CompanyEvent]) -> CompanyRow:
    match recorded.event:
        case CompanyCreated() as event:
            return CompanyRow(
                id=event.company_id,
                alias=event.alias,
                alias_key=event.alias.lower(),
                title=event.title,
                members_id=event.members_id,
                created_at=recorded.at,
            )
        case CompanyTitleChanged(title=title):
            return row.replace(title=title)
        case CompanyRenamed(alias=alias):
            return row.replace(alias=alias, alias_key=alias.lower())
        case CompanyMembersSet(members_id=ids):
            return row.replace(members_id=ids)
        case CompanyDeleted():
            return CompanyRow()


company_category = Category(
    "company",
    company_decider,
    CompanyRow(),
    apply_company_event,
    indexes=(("id",), ("alias_key",), ("members_id",)),
    is_deleted=lambda row: row.id == 0,
)


# creating, changing, deleting


async def create_company(ctx: Context, command: CreateCompany) -> CommandReply:
    """An alias that nobody asked for gives way to one that was taken a moment earlier."""
    record = RecordCompany.model_validate(dict(command))
    for _ in range(MAX_ALIAS_ATTEMPTS - 1):
        try:
            return await ctx.send(record)  # what was refused is not recorded, so the same command may try again
        except RequestRejected as refused:
            if refused.code != "COMPANY_ALIAS_TAKEN" or command.alias:
                raise
    return await ctx.send(record)


async def prepare_company(ctx: Context, command: RecordCompany) -> RecordCompany:
    title = validate_title(command.title)
    alias = validate_alias(command.alias) if command.alias else await find_free_alias(ctx, make_slug(title, "company"))
    await require_members(ctx, command)
    return command.replace(alias=alias, company_id=await ctx.next_id("company"))


async def require_members(
    ctx: Context, command: RecordCompany | SetCompanyMembers
) -> RecordCompany | SetCompanyMembers:
    """Whoever is to be a member must exist."""
    members = sort_unique(command.members_id)
    known = {row.id for row in await ctx.read_model("user").find({"_id": {"$in": [f"user-{one}" for one in members]}})}
    if missing := set(members) - known:
        raise RequestRejected("DEVELOPER_NOT_FOUND", f"There is no user {min(missing)}.")
    return command


async def find_free_alias(ctx: Context, wanted: str) -> str:
    """The wanted alias, or the first with a number that neither a user nor a company has."""
    alike = {"$regex": slug_family_regex(wanted)}
    users = await ctx.read_model("user").find({"username_key": alike})
    companies = await ctx.read_model("company").find({"alias_key": alike})
    return find_free_slug(wanted, {row.username_key for row in users} | {row.alias_key for row in companies})


async def prepare_company_deletion(ctx: Context, command: DeleteCompany) -> DeleteCompany:
    owned = ProjectCount.model_validate(await ctx.query(GetProjectCount(company_id=command.company_id)))
    if owned.count:
        raise RequestRejected("COMPANY_PROJECTS_NOT_EMPTY", f"The company still owns projects: {owned.count}.")
    return command


# answers


async def get_company(ctx: Context, query: GetCompany) -> CompanyView:
    row = (
        await find_company_by_alias(ctx, query.alias)
        if query.company_id is None
        else await find_company(ctx, query.company_id)
    )
    if row is None:
        raise RequestRejected("COMPANY_NOT_FOUND")
    return to_company_view(row)


async def list_companies(ctx: Context, _query: ListCompanies) -> Companies:
    rows = await ctx.read_model("company").find({}, [("id", 1)])
    return Companies(companies=tuple(to_company_view(row) for row in rows))


async def find_company(ctx: Context, company_id: int) -> CompanyRow | None:
    row: CompanyRow | None = await ctx.read_model("company").get(f"company-{company_id}")
    return row


async def find_company_by_alias(ctx: Context, alias: str | None) -> CompanyRow | None:
    row: CompanyRow | None = await ctx.read_model("company").find_one({"alias_key": (alias or "").lower()})
    return row


def to_company_view(row: CompanyRow) -> CompanyView:
    return CompanyView(
        id=row.id, alias=row.alias, title=row.title, members_id=row.members_id, created_at=row.created_at
    )
